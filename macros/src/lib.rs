//! The `#[panpipe::service]` attribute. Use it through the `panpipe` crate,
//! which documents it.

mod ast;
mod check;
mod expand;
mod hash;
mod parse;
mod parts;
mod rebase;
mod shape;

use proc_macro::TokenStream;

use parse::Parsed;

// Documented where it is re-exported: an example needs the other crates.
#[allow(missing_docs)]
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
        Parsed::Service(service) => {
            let expanded = expand::service(&service);
            match &service.krate {
                None => expanded,
                Some(path) => rebase::rebase(expanded, path),
            }
        }
        Parsed::Inert(item) => quote::quote!(#[allow(async_fn_in_trait)] #item),
        Parsed::Nothing => proc_macro2::TokenStream::new(),
    };
    let errors = errors.into_tokens();
    quote::quote! { #errors #expanded }
}

#[cfg(test)]
mod tests {
    use quote::quote;

    #[test]
    fn generated_code_names_nothing_that_a_user_may_not_have() {
        let code = super::service_tokens(
            quote!(),
            quote! {
                pub trait Store<T> {
                    async fn get(&self, key: T) -> Result<Vec<u8>, T> { loop {} }
                    #[oneway]
                    async fn touch(&self);
                    #[timeout("1s")]
                    async fn alias(&self) -> Result<u8>;
                }
            },
        );
        let text = code.to_string().replace(' ', "");
        for (at, _) in text.match_indices("::") {
            let is_absolute =
                !text[..at].ends_with(|before: char| before.is_alphanumeric() || "_>)".contains(before));
            let first = text[at + 2..].split(|c: char| !c.is_alphanumeric() && c != '_').next();
            if is_absolute {
                assert!(
                    matches!(first, Some("core" | "std" | "panpipe")),
                    "{}",
                    &text[at..(at + 60).min(text.len())]
                );
            }
        }
    }
}
