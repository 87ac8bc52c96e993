//! Which parts of a type are blocks of bytes: what of `Vec<u8>` and `Bytes` is
//! in sight, alone or inside `Option`, `Result` and tuples.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{GenericArgument, PathArguments, Type};

/// A type's shape; `None` when all of it is as serde takes it.
fn special(ty: &Type) -> Option<TokenStream> {
    match ty {
        Type::Paren(inner) => special(&inner.elem),
        Type::Group(inner) => special(&inner.elem),
        // The runtime has shapes for tuples of up to eight.
        Type::Tuple(tuple) if tuple.elems.len() <= 8 => {
            tuple.elems.iter().any(|part| special(part).is_some()).then(|| {
                let parts = tuple.elems.iter().map(shape);
                quote!(::panpipe::__private::Tup<(#(#parts,)*)>)
            })
        }
        Type::Path(path) if path.qself.is_none() => {
            let last = path.path.segments.last()?;
            let args = type_args(&last.arguments);
            match (last.ident.to_string().as_str(), args.as_slice()) {
                ("Bytes", []) => Some(quote!(::panpipe::__private::Block)),
                ("Vec", [item]) if is_u8(item) => Some(quote!(::panpipe::__private::Block)),
                ("Option", [inner]) => {
                    let inner = special(inner)?;
                    Some(quote!(::panpipe::__private::Opt<#inner>))
                }
                ("Result", [ok, err]) => {
                    if special(ok).is_none() && special(err).is_none() {
                        return None;
                    }
                    let (ok, err) = (shape(ok), shape(err));
                    Some(quote!(::panpipe::__private::Res<#ok, #err>))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// A type's shape.
pub(crate) fn shape(ty: &Type) -> TokenStream {
    special(ty).unwrap_or_else(|| quote!(::panpipe::__private::Plain))
}

/// The `with` of serde's attribute for a field of this shape, if it needs one.
pub(crate) fn serde_with(shape: &TokenStream) -> Option<TokenStream> {
    let plain = quote!(::panpipe::__private::Plain);
    (shape.to_string() != plain.to_string()).then(|| {
        let path = quote!(::panpipe::__private::Shaped::<#shape>).to_string();
        quote!(#[serde(with = #path)])
    })
}

/// The type arguments of a path's last segment.
pub(crate) fn type_args(arguments: &PathArguments) -> Vec<&Type> {
    let PathArguments::AngleBracketed(arguments) = arguments else {
        return Vec::new();
    };
    arguments
        .args
        .iter()
        .filter_map(|argument| match argument {
            GenericArgument::Type(ty) => Some(ty),
            _ => None,
        })
        .collect()
}

fn is_u8(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.qself.is_none() && path.path.is_ident("u8"))
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    fn text(ty: &Type) -> String {
        shape(ty)
            .to_string()
            .replace("::panpipe::__private::", "")
            .replace(":: panpipe :: __private :: ", "")
            .replace(' ', "")
    }

    #[test]
    fn blocks_are_found_in_options_results_and_tuples() {
        assert_eq!(text(&parse_quote!(Vec<u8>)), "Block");
        assert_eq!(text(&parse_quote!(bytes::Bytes)), "Block");
        assert_eq!(text(&parse_quote!(Option<std::vec::Vec<u8>>)), "Opt<Block>");
        assert_eq!(text(&parse_quote!(Result<u8, Vec<u8>>)), "Res<Plain,Block>");
        assert_eq!(text(&parse_quote!((u8, Option<Bytes>))), "Tup<(Plain,Opt<Block>,)>");
        assert_eq!(text(&parse_quote!(Vec<u16>)), "Plain");
        assert_eq!(text(&parse_quote!(Option<(u8, String)>)), "Plain");
    }
}
