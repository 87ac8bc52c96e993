# The service of src/capnp.rs. `src/echo_capnp.rs` is made of it by capnpc, with
# Cap'n Proto's own compiler, which no build here needs:
#
#   capnp compile -o rust src/echo.capnp
#
@0x9d3c1f7a5b2e8461;

interface Echo {
  echo @0 (bytes :Data) -> (bytes :Data);
}
