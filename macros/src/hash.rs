//! The hash that addresses a method on the wire, and the text that is hashed.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::Type;

/// The text: `name(types of the arguments)->type of the result`, each type as it
/// is written, without white space but for one space between two words. A
/// one-way method begins with `oneway ` and has no result.
pub(crate) fn signature<'a>(
    name: &str,
    args: impl Iterator<Item = &'a Type>,
    output: Option<&Type>,
) -> String {
    let args: Vec<_> = args.map(|ty| text(ty.to_token_stream())).collect();
    let args = args.join(",");
    match output {
        Some(output) => format!("{name}({args})->{}", text(output.to_token_stream())),
        None => format!("oneway {name}({args})"),
    }
}

/// FNV-1a of 64 bits over the text's bytes, then the finisher of MurmurHash3.
pub(crate) fn hash(text: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

fn text(tokens: TokenStream) -> String {
    let mut out = String::new();
    append(tokens, &mut out);
    out
}

fn append(tokens: TokenStream, out: &mut String) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::None => ("", ""),
                };
                out.push_str(open);
                append(group.stream(), out);
                out.push_str(close);
            }
            TokenTree::Punct(punct) => {
                if punct.as_char() == '>' && out.ends_with(',') {
                    out.pop();
                }
                out.push(punct.as_char());
            }
            word => {
                let word = word.to_string();
                if out.ends_with(|last: char| last.is_alphanumeric() || last == '_') {
                    out.push(' ');
                }
                out.push_str(&word);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    #[test]
    fn white_space_and_closing_commas_make_no_other_method() {
        let one: Type = parse_quote!(Result<Vec<u8>, StoreError>);
        let other: Type = parse_quote!(Result<Vec<u8>, StoreError>);
        let text = signature("get", [parse_quote!(String)].iter(), Some(&one));
        assert_eq!(text, "get(String)->Result<Vec<u8>,StoreError>");
        assert_eq!(text, signature("get", [parse_quote!(String)].iter(), Some(&other)));
    }

    #[test]
    fn every_part_of_a_signature_counts() {
        let unit: Type = parse_quote!(());
        let texts = [
            signature("a", [].iter(), Some(&unit)),
            signature("b", [].iter(), Some(&unit)),
            signature("a", [parse_quote!(u8)].iter(), Some(&unit)),
            signature("a", [].iter(), Some(&parse_quote!(u8))),
            signature("a", [].iter(), None),
        ];
        let hashes: std::collections::BTreeSet<_> = texts.iter().map(|text| hash(text)).collect();
        assert_eq!(hashes.len(), texts.len());
    }

    #[test]
    fn the_hash_is_the_protocols() {
        // The worked examples of PROTOCOL.md.
        assert_eq!(format!("{:016x}", hash("echo(Vec<u8>)->Vec<u8>")), "44d2a1b763af5b1f");
        assert_eq!(format!("{:016x}", hash("oneway touch(String)")), "7f2d338e3efd04d7");
    }
}
