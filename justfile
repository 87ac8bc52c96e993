# The commands of the house; each is one line that can be typed instead.

default:
    @just --list

# Something to see: a server, three clients and a child.
quickstart:
    cargo run --example quickstart

# All tests.
test:
    cargo test --workspace

# Every promise with its figure.
proofs:
    PANPIPE_PROOFS=full cargo test -p panpipe-tests --release --test proofs -- --test-threads=1 --nocapture

# The table of speeds.
bench *choice:
    cargo bench -p panpipe-benches -- {{choice}}

# The charts of them.
draw:
    cargo run --release -p panpipe-benches --bin draw

# What building costs.
cost:
    cargo run --release -p panpipe-benches --bin cost

# All that has to pass.
ci:
    .ci/run

# Windows, as far as a Linux machine can tell.
windows:
    .ci/windows
