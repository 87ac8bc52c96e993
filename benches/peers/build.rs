//! Makes the stubs of those who have them generated, by compilers in Rust.

use std::fs;
use std::path::Path;

use tonic_build::manual::{Builder, Method, Service};
use ttrpc_codegen::{Codegen, Customize, ProtobufCustomize};

fn main() {
    println!("cargo::rerun-if-changed=src/echo.proto");
    tonic();
    ttrpc();
}

fn tonic() {
    let method = |name: &str, route: &str, input: &str| {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type(input)
            .output_type("crate::tonic::Block")
            .codec_path("tonic_prost::ProstCodec")
    };
    let service = Service::builder()
        .package("echo")
        .name("Echoes")
        .method(method("echo", "Echo", "crate::tonic::Block").build())
        .method(method("items", "Items", "crate::tonic::Size").server_streaming().build())
        .build();
    Builder::new().compile(&[service]);
}

fn ttrpc() {
    Codegen::new()
        .input("src/echo.proto")
        .include("src")
        .rust_protobuf()
        .customize(Customize { async_all: true, gen_mod: true, ..Customize::default() })
        .rust_protobuf_customize(ProtobufCustomize::default().gen_mod_rs(true))
        .run()
        .expect("src/echo.proto is right");
    // What is included may have no attributes of its own.
    let list = Path::new(&std::env::var_os("OUT_DIR").expect("cargo says where")).join("mod.rs");
    let text = fs::read_to_string(&list).expect("it was just made");
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("#![")).collect();
    fs::write(list, lines.join("\n")).expect("it was just made");
}
