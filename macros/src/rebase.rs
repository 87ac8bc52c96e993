//! Generated code for a crate that reaches panpipe by another path than `::panpipe`.

use proc_macro2::{Delimiter, Group, Literal, Spacing, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::Path;

/// Replaces `::panpipe` by `path`, also in the texts of serde's attributes.
pub(crate) fn rebase(tokens: TokenStream, path: &Path) -> TokenStream {
    let path = match path.segments.first().map(|first| first.ident.to_string()).as_deref() {
        Some("crate" | "self" | "super") => path.to_token_stream(),
        _ if path.leading_colon.is_some() => path.to_token_stream(),
        _ => quote!(::#path),
    };
    replace(tokens, &path, &path.to_string())
}

fn replace(tokens: TokenStream, path: &TokenStream, text: &str) -> TokenStream {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut out = TokenStream::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_panpipe(&tokens, at) {
            out.extend(path.clone());
            at += 3;
            continue;
        }
        match &tokens[at] {
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), replace(group.stream(), path, text));
                inner.set_span(group.span());
                out.extend([TokenTree::Group(inner)]);
            }
            TokenTree::Literal(literal) => out.extend([TokenTree::Literal(replace_text(literal, text))]),
            token => out.extend([token.clone()]),
        }
        at += 1;
    }
    out
}

/// Whether `::panpipe` begins here, and is not the rest of another path.
fn is_panpipe(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |at: usize, spacing| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':' && (punct.spacing() == Spacing::Joint || spacing == Spacing::Alone));
    let continues = at > 0
        && match &tokens[at - 1] {
            TokenTree::Ident(ident) => !is_keyword(&ident.to_string()),
            TokenTree::Punct(punct) => punct.as_char() == '>' && !is_arrow(tokens, at - 1),
            TokenTree::Group(group) => group.delimiter() == Delimiter::None,
            TokenTree::Literal(_) => false,
        };
    !continues
        && colon(at, Spacing::Joint)
        && colon(at + 1, Spacing::Alone)
        && matches!(tokens.get(at + 2), Some(TokenTree::Ident(ident)) if ident == "panpipe")
}

/// Whether the `>` here ends a `->` or a `=>`.
fn is_arrow(tokens: &[TokenTree], at: usize) -> bool {
    at > 0
        && matches!(&tokens[at - 1], TokenTree::Punct(punct) if matches!(punct.as_char(), '-' | '=') && punct.spacing() == Spacing::Joint)
}

/// Keywords after which a path begins.
fn is_keyword(word: &str) -> bool {
    ["as", "for", "impl", "dyn", "in", "mut", "match", "return", "where", "move", "if", "else"]
        .contains(&word)
}

fn replace_text(literal: &Literal, path: &str) -> Literal {
    let text = literal.to_string();
    if !text.starts_with('"') || !text.contains("__private") {
        return literal.clone();
    }
    let value = match syn::parse_str::<syn::LitStr>(&text) {
        Ok(value) => value.value(),
        Err(_) => return literal.clone(),
    };
    let mut replaced = Literal::string(&value.replace(":: panpipe", path).replace("::panpipe", path));
    replaced.set_span(literal.span());
    replaced
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    #[test]
    fn paths_and_texts_are_replaced_and_other_paths_are_not() {
        let tokens = quote! {
            impl ::panpipe::__private::Wire for X {}
            fn f() -> ::panpipe::Y { <a::panpipe::Z as ::panpipe::W>::panpipe::V }
            #[serde(with = ":: panpipe :: __private :: Shaped")]
            #[doc = "::panpipe stays in documentation"]
        };
        let text = rebase(tokens, &parse_quote!(acme::rpc)).to_string();
        let expected = quote! {
            impl ::acme::rpc::__private::Wire for X {}
            fn f() -> ::acme::rpc::Y { <a::panpipe::Z as ::acme::rpc::W>::panpipe::V }
            #[serde(with = ":: acme :: rpc :: __private :: Shaped")]
            #[doc = "::panpipe stays in documentation"]
        };
        assert_eq!(text, expected.to_string());
        let local = rebase(quote!(::panpipe::X), &parse_quote!(crate::rpc));
        assert_eq!(local.to_string(), quote!(crate::rpc::X).to_string());
    }
}
