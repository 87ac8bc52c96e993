//! The `#[panpipe::service]` attribute. Use it through the `panpipe` crate,
//! which documents it.

mod ast;
mod check;
mod expand;
mod hash;
mod parse;
mod shape;

use proc_macro::TokenStream;

/// Makes a service of a trait: its client, and what a server needs of it.
#[proc_macro_attribute]
pub fn service(options: TokenStream, item: TokenStream) -> TokenStream {
    service_tokens(options.into(), item.into()).into()
}

/// The attribute on plain token streams, so that it can be tested.
fn service_tokens(
    options: proc_macro2::TokenStream,
    item: proc_macro2::TokenStream,
) -> proc_macro2::TokenStream {
    let mut errors = check::Errors::default();
    let expanded = match parse::service(options, item, &mut errors) {
        Some(service) => expand::service(&service),
        None => proc_macro2::TokenStream::new(),
    };
    let errors = errors.into_tokens();
    quote::quote! { #errors #expanded }
}
