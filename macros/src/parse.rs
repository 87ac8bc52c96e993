//! From tokens to a service, as far as the trait makes sense.

use std::collections::BTreeMap;
use std::time::Duration;

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::parse_quote;
use syn::visit_mut::{self, VisitMut};
use syn::{
    AttrStyle, Attribute, Expr, ExprLit, ExprRange, FnArg, Ident, ItemTrait, Lit, LitInt, LitStr, Pat, Path,
    RangeLimits, ReturnType, Token, TraitItem, TraitItemFn, Type, TypeGroup, TypeParen,
};

use crate::ast::{Arg, Item, Method, Output, Service, ServiceName, Versions};
use crate::check::{self, Errors};
use crate::hash::{hash, signature};
use crate::shape::type_args;

/// The longest name that a hello takes.
const LONGEST_NAME: usize = 255;

/// What there is to expand.
pub(crate) enum Parsed {
    Service(Service),
    /// A trait that cannot be a service: it stays as it is.
    Inert(ItemTrait),
    Nothing,
}

/// Parses the attribute's options and its trait.
pub(crate) fn service(options: TokenStream, item: TokenStream, errors: &mut Errors) -> Parsed {
    let mut item: ItemTrait = match syn::parse2(item) {
        Ok(item) => item,
        Err(error) => {
            errors.push(syn::Error::new(
                error.span(),
                "`#[panpipe::service]` goes on a trait whose methods are `async fn`s",
            ));
            return Parsed::Nothing;
        }
    };
    let options = match syn::parse2::<Options>(options) {
        Ok(options) => Options { versions: options.versions.or(Some(FIRST)), ..options },
        Err(error) => {
            errors.push(error);
            Options::default()
        }
    };
    if let Some(token) = &item.unsafety {
        errors.at(token, "a service trait cannot be unsafe");
    }
    if let Err(error) = item.modifiers.require_empty() {
        errors.push(error);
    }
    let before = errors.count();
    check::generics(&item.generics, errors);
    let inert = errors.count() > before;
    if options.client.is_none() {
        check::name(&item.ident, errors);
    }
    for attr in &mut item.attrs {
        // Those inside of the braces are emitted before the trait.
        attr.style = AttrStyle::Outer;
    }
    let all_ordered = take_ordered(&mut item.attrs, errors);
    let name = options.name.unwrap_or_else(|| ServiceName::Text(item.ident.unraw().to_string()));
    let mut client_implements = options.client_implements;
    if client_implements {
        let before = errors.count();
        for method in &item.items {
            if let TraitItem::Fn(method) = method {
                check::fallible(method, errors);
            }
        }
        client_implements = errors.count() == before;
    }
    // Where they are not known nothing is said of what has to fit them.
    let versions = options.versions;
    let mut seen = Seen::default();
    let items = item
        .items
        .iter()
        .cloned()
        .filter_map(|item| match item {
            TraitItem::Fn(method) => parse_method(method, versions, all_ordered, &mut seen, errors),
            other => {
                errors.at(&other, "a service trait has methods only");
                Some(Item::Inert(Box::new(other)))
            }
        })
        .collect();
    if inert {
        for item in &mut item.items {
            if let TraitItem::Fn(method) = item {
                // What is wrong with the attributes has been said above.
                take_own_attrs(&mut method.attrs, &mut Errors::default());
                hide_patterns(method);
            }
        }
        return Parsed::Inert(item);
    }
    Parsed::Service(Service {
        attrs: item.attrs,
        vis: item.vis,
        trait_token: item.trait_token,
        ident: item.ident,
        generics: item.generics,
        supertraits: item.supertraits.into_iter().collect(),
        name,
        client: options.client,
        client_implements,
        krate: options.krate,
        versions: versions.unwrap_or(FIRST),
        items,
    })
}

/// The versions of a trait that says nothing of them.
const FIRST: Versions = Versions { oldest: 1, newest: 1 };

/// `name = "…"`, `version = N` or `versions = A..=B`, `client = …`, `crate = "…"`.
#[derive(Default)]
struct Options {
    name: Option<ServiceName>,
    client: Option<Ident>,
    client_implements: bool,
    krate: Option<Path>,
    versions: Option<Versions>,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut options = Options::default();
        let mut version_key: Option<Ident> = None;
        while !input.is_empty() {
            let key = Ident::parse_any(input)?;
            if key == "client_implements" {
                options.client_implements = true;
                if !input.is_empty() {
                    input.parse::<Token![,]>()?;
                }
                continue;
            }
            input.parse::<Token![=]>()?;
            let twice = || syn::Error::new(key.span(), format!("`{key}` is given twice"));
            match key.to_string().as_str() {
                "name" => {
                    let name = if input.peek(LitStr) {
                        let name: LitStr = input.parse()?;
                        if name.value().is_empty() || name.value().len() > LONGEST_NAME {
                            return Err(syn::Error::new(
                                name.span(),
                                format!("a service's name has 1 to {LONGEST_NAME} bytes"),
                            ));
                        }
                        ServiceName::Text(name.value())
                    } else {
                        let path = input.call(Path::parse_mod_style).map_err(|error| {
                            syn::Error::new(
                                error.span(),
                                "a service's name is a text or the path of a constant `&str`",
                            )
                        })?;
                        ServiceName::Constant(Box::new(path))
                    };
                    if options.name.replace(name).is_some() {
                        return Err(twice());
                    }
                }
                "client" => {
                    let client: Ident = input.parse()?;
                    if options.client.replace(client).is_some() {
                        return Err(twice());
                    }
                }
                "crate" => {
                    let text: LitStr = input.parse()?;
                    let path = text.parse_with(Path::parse_mod_style).map_err(|_| {
                        syn::Error::new(
                            text.span(),
                            "`crate` is the path of panpipe: `crate = \"acme::panpipe\"`",
                        )
                    })?;
                    if options.krate.replace(path).is_some() {
                        return Err(twice());
                    }
                }
                "version" | "versions" => {
                    let versions = if key == "version" {
                        let only = input.parse::<LitInt>()?.base10_parse()?;
                        Versions { oldest: only, newest: only }
                    } else {
                        parse_versions(&input.parse()?)?
                    };
                    match version_key.replace(key.clone()) {
                        None => options.versions = Some(versions),
                        Some(other) if other == key => return Err(twice()),
                        Some(_) => {
                            return Err(syn::Error::new(
                                key.span(),
                                "`version = N` is `versions = N..=N`: give one of the two",
                            ));
                        }
                    }
                }
                _ => {
                    return Err(syn::Error::new(
                        key.span(),
                        "unknown option; there are `name = \"…\"`, `version = N`, `versions = A..=B`, `client = …`, `client_implements` and `crate = \"…\"`",
                    ));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

/// `3..=4`.
fn parse_versions(range: &Expr) -> syn::Result<Versions> {
    let error = |message| Err(syn::Error::new_spanned(range, message));
    let Expr::Range(ExprRange {
        start: Some(oldest), limits: RangeLimits::Closed(_), end: Some(newest), ..
    }) = range
    else {
        return error(
            "versions are a range that says its oldest and its newest: `versions = 3..=4`".to_owned(),
        );
    };
    let (oldest, newest) = (version_number(oldest)?, version_number(newest)?);
    if oldest > newest {
        return error(format!(
            "the range is empty: the oldest version comes first, `versions = {newest}..={oldest}`"
        ));
    }
    Ok(Versions { oldest, newest })
}

fn version_number(expr: &Expr) -> syn::Result<u32> {
    match expr {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => number.base10_parse(),
        other => Err(syn::Error::new_spanned(other, "a version is a number")),
    }
}

/// What the methods so far have taken.
#[derive(Default)]
struct Seen {
    /// The text that each hash is of.
    hashes: BTreeMap<u64, String>,
    /// The methods' names, and whether each is there in every configuration.
    names: BTreeMap<String, bool>,
    /// The enums' variants, and whose they are.
    variants: BTreeMap<String, String>,
}

impl Seen {
    /// Takes a hash; gives the other method that has it.
    fn take_hash(&mut self, hash: u64, signature: &str) -> Option<String> {
        let owner = self.hashes.entry(hash).or_insert_with(|| signature.to_owned());
        // The same method under two configurations is one method.
        (owner != signature).then(|| owner.clone())
    }

    /// Takes a name. False: a method has it already, and both are always there.
    fn take_name(&mut self, name: &str, always: bool) -> bool {
        let before = self.names.insert(name.to_owned(), always);
        !(always && before == Some(true))
    }

    /// The variant of a method: its name in camel case, unless another has that.
    fn take_variant(&mut self, name: &str) -> String {
        let variant = camel_case(name);
        let is_name = variant != "Self" && syn::parse_str::<Ident>(&variant).is_ok();
        if !is_name {
            return format!("Method_{name}");
        }
        let owner = self.variants.entry(variant.clone()).or_insert_with(|| name.to_owned());
        if owner == name { variant } else { format!("Method_{name}") }
    }
}

/// `None` for a method that would only be in the way of another.
fn parse_method(
    mut item: TraitItemFn,
    versions: Option<Versions>,
    all_ordered: bool,
    seen: &mut Seen,
    errors: &mut Errors,
) -> Option<Item> {
    let before = errors.count();
    check::method(&item, errors);
    let Own { oneway, timeout, idempotent, since, ordered } = take_own_attrs(&mut item.attrs, errors);
    let whole: Type = match &item.sig.output {
        ReturnType::Default => parse_quote!(()),
        ReturnType::Type(arrow, ty) => {
            if oneway.is_some() {
                errors.at(arrow, "a one-way method gives nothing back");
            }
            plain_type((**ty).clone())
        }
    };
    if let (Some(_), Some(attr)) = (&oneway, &idempotent) {
        errors.at(
            attr,
            "a one-way call that was not sent is made again in any case, and of one that was sent nothing is heard; leave `#[idempotent]` out",
        );
    }
    if let (Some(attr), true) = (&ordered, all_ordered) {
        errors.at(attr, "all methods of this trait are ordered: leave `#[ordered]` out here");
    }
    if let (Some((number, since)), Some(versions)) = (&since, versions) {
        check::since(number, *since, versions, errors);
    }
    let args: Vec<_> = item.sig.inputs.iter().filter_map(parse_arg).collect();
    let name = item.sig.ident.unraw().to_string();
    let output = (oneway.is_none()).then_some(&whole);
    let signature = signature(&name, args.iter().map(|arg| &arg.ty), output);
    let hash = hash(&signature);
    if let Some(other) = seen.take_hash(hash, &signature) {
        let words = format!("`{signature}` and `{other}` have the same hash; rename one of them");
        errors.at(&item.sig.ident, words);
    }
    let always = !item.attrs.iter().any(|attr| attr.path().is_ident("cfg"));
    if !seen.take_name(&name, always) {
        errors.at(
            &item.sig.ident,
            format_args!("there is a method `{name}` already; methods have one name each"),
        );
        return None;
    }
    let output = parse_output(whole);
    if let Output::Result { err, .. } = &output {
        check::boxed_error(err, errors);
    }
    if errors.count() > before {
        hide_patterns(&mut item);
        if item.sig.to_token_stream().to_string().contains("Self") {
            // Otherwise the compiler finds that the size of `Self` is not known.
            item.sig.generics.make_where_clause().predicates.push(parse_quote!(Self: ::core::marker::Sized));
        }
        return Some(Item::Inert(Box::new(TraitItem::Fn(item))));
    }
    Some(Item::Method(Box::new(Method {
        attrs: item.attrs,
        variant: format_ident!("{}", seen.take_variant(&name), span = item.sig.ident.span()),
        ident: item.sig.ident,
        name,
        args,
        output,
        oneway: oneway.is_some(),
        timeout: timeout.map(|(_, timeout)| timeout),
        idempotent: idempotent.is_some(),
        ordered: ordered.is_some() || all_ordered,
        since: since.map(|(_, since)| since),
        default: item.default,
        hash,
    })))
}

/// A method without a body has no patterns: the compiler would say so once more.
fn hide_patterns(item: &mut TraitItemFn) {
    for arg in &mut item.sig.inputs {
        if let (FnArg::Typed(arg), None) = (arg, &item.default) {
            if !matches!(*arg.pat, Pat::Ident(_)) {
                *arg.pat = parse_quote!(_);
            }
        }
    }
}

fn parse_arg(arg: &FnArg) -> Option<Arg> {
    let FnArg::Typed(arg) = arg else { return None };
    let Pat::Ident(pat) = &*arg.pat else {
        return None;
    };
    let ty = plain_type((*arg.ty).clone());
    Some(Arg { mutable: pat.mutability.is_some(), ident: pat.ident.clone(), ty })
}

/// A type without the parentheses and the invisible groups (of `macro_rules!`) that change
/// nothing in it. Otherwise types with the same text, and so the same hash, could travel in
/// different forms.
fn plain_type(mut ty: Type) -> Type {
    struct Plain;
    impl VisitMut for Plain {
        fn visit_type_mut(&mut self, node: &mut Type) {
            while let Type::Group(TypeGroup { elem, .. }) | Type::Paren(TypeParen { elem, .. }) = node {
                if matches!(**elem, Type::TraitObject(_) | Type::ImplTrait(_)) {
                    break;
                }
                *node = (**elem).clone();
            }
            visit_mut::visit_type_mut(self, node);
        }
    }
    Plain.visit_type_mut(&mut ty);
    ty
}

fn parse_output(whole: Type) -> Output {
    if let Type::Path(path) = &whole {
        if let Some(last) = path.path.segments.last().filter(|last| last.ident == "Result") {
            return match type_args(&last.arguments).as_slice() {
                [ok, err] => Output::Result { ok: (*ok).clone(), err: (*err).clone(), whole: whole.clone() },
                args => Output::Alias { ok: args.first().map(|ok| (*ok).clone()), whole: whole.clone() },
            };
        }
    }
    Output::Plain(whole)
}

/// The macro's own attributes on a method.
struct Own {
    oneway: Option<Attribute>,
    timeout: Option<(Attribute, Duration)>,
    idempotent: Option<Attribute>,
    since: Option<(LitInt, u32)>,
    ordered: Option<Attribute>,
}

/// The names of the macro's own attributes.
const OWN: [&str; 5] = ["oneway", "timeout", "idempotent", "since", "ordered"];

fn take_own_attrs(attrs: &mut Vec<Attribute>, errors: &mut Errors) -> Own {
    let mut own = Own { oneway: None, timeout: None, idempotent: None, since: None, ordered: None };
    attrs.retain(|attr| !check::conditional(attr, &OWN, errors));
    attrs.retain(|attr| {
        if attr.path().is_ident("oneway") {
            take_word(&mut own.oneway, attr, "oneway", errors);
            false
        } else if attr.path().is_ident("idempotent") {
            take_word(&mut own.idempotent, attr, "idempotent", errors);
            false
        } else if attr.path().is_ident("ordered") {
            take_word(&mut own.ordered, attr, "ordered", errors);
            false
        } else if attr.path().is_ident("timeout") {
            match attr.parse_args::<LitStr>().and_then(|text| parse_duration(&text)) {
                Ok(timeout) => {
                    if own.timeout.replace((attr.clone(), timeout)).is_some() {
                        errors.at(attr, "`#[timeout(…)]` is given twice");
                    }
                }
                Err(error) => errors.push(error),
            }
            false
        } else if attr.path().is_ident("since") {
            match attr.parse_args::<LitInt>().and_then(|number| Ok((number.base10_parse()?, number))) {
                Ok((since, number)) => {
                    if own.since.replace((number, since)).is_some() {
                        errors.at(attr, "`#[since(…)]` is given twice");
                    }
                }
                Err(error) => errors.push(error),
            }
            false
        } else {
            true
        }
    });
    own
}

/// Takes the trait's own `#[ordered]`.
fn take_ordered(attrs: &mut Vec<Attribute>, errors: &mut Errors) -> bool {
    let mut ordered = None;
    attrs.retain(|attr| !check::conditional(attr, &["ordered"], errors));
    attrs.retain(|attr| {
        let is_own = attr.path().is_ident("ordered");
        if is_own {
            take_word(&mut ordered, attr, "ordered", errors);
        }
        !is_own
    });
    ordered.is_some()
}

/// Takes an attribute that is one word.
fn take_word(place: &mut Option<Attribute>, attr: &Attribute, name: &str, errors: &mut Errors) {
    if let Err(error) = attr.meta.require_path_only() {
        errors.push(error);
    }
    if place.replace(attr.clone()).is_some() {
        errors.at(attr, format_args!("`#[{name}]` is given twice"));
    }
}

/// `"250ms"`, `"30s"`, `"2m"`, `"1h"`.
fn parse_duration(text: &LitStr) -> syn::Result<Duration> {
    let value = text.value();
    let unit = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(unit);
    let millis = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let millis = millis.zip(number.parse::<u64>().ok()).and_then(|(unit, number)| number.checked_mul(unit));
    match millis {
        Some(millis) if millis > 0 => Ok(Duration::from_millis(millis)),
        _ => Err(syn::Error::new(
            text.span(),
            "a timeout is a whole number with its unit: \"250ms\", \"30s\", \"2m\" or \"1h\"",
        )),
    }
}

/// `get_all` as `GetAll`.
fn camel_case(name: &str) -> String {
    let mut out = String::new();
    let mut up = true;
    for c in name.chars() {
        if c == '_' {
            up = true;
        } else if up {
            out.extend(c.to_uppercase());
            up = false;
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    fn errors(item: TokenStream) -> String {
        let mut errors = Errors::default();
        service(TokenStream::new(), item, &mut errors);
        errors.into_tokens().to_string()
    }

    #[test]
    fn a_sound_trait_has_no_errors() {
        let text = errors(quote! {
            pub trait Store<T: Clone> {
                /// Docs.
                async fn get(&self, key: String) -> Result<Vec<u8>, T>;
                #[oneway]
                async fn touch(&self, mut key: String) { let _ = &mut key; }
                #[idempotent]
                #[timeout("30s")]
                async fn r#type(&self);
            }
        });
        assert_eq!(text, "");
    }

    fn parsed(options: TokenStream, item: TokenStream) -> Result<Service, String> {
        let mut errors = Errors::default();
        let parsed = service(options, item, &mut errors);
        match (parsed, errors.count()) {
            (Parsed::Service(service), 0) => Ok(service),
            _ => Err(errors.into_tokens().to_string()),
        }
    }

    #[test]
    fn versions_are_a_range_that_methods_may_begin_in() {
        let methods = quote! {
            trait Store {
                async fn get(&self);
                #[since(4)]
                async fn get_all(&self);
            }
        };
        let service = parsed(quote!(versions = 3..=4, name = "s"), methods.clone()).unwrap();
        assert_eq!(service.versions, Versions { oldest: 3, newest: 4 });
        assert!(matches!(&service.name, ServiceName::Text(name) if name == "s"));
        assert_eq!(service.methods().map(|method| method.since).collect::<Vec<_>>(), [None, Some(4)]);
        let plain = quote!(
            trait Store {}
        );
        for (options, oldest, newest) in
            [(quote!(), 1, 1), (quote!(version = 7), 7, 7), (quote!(versions = 0..=0), 0, 0)]
        {
            let service = parsed(options, plain.clone()).unwrap();
            assert_eq!(service.versions, Versions { oldest, newest });
        }
        for (options, words) in [
            (quote!(version = 4), "every version has the method"),
            (quote!(versions = 4..=5), "leave the attribute out"),
            (quote!(versions = 1..=3), "newest version is 3"),
            (quote!(versions = 4..=3), "versions = 3..=4"),
            (quote!(versions = 3..4), "its oldest and its newest"),
            (quote!(versions = 3), "its oldest and its newest"),
            (quote!(versions = a..=b), "a version is a number"),
            (quote!(versions = 3..=4, version = 4), "one of the two"),
            (quote!(versions = 3..=4, versions = 3..=4), "given twice"),
        ] {
            let Err(error) = parsed(options, methods.clone()) else { panic!("{words}: there is no error") };
            assert!(error.contains(words), "{error}");
            // One error: nothing is said of methods where the range is not known.
            assert_eq!(error.matches("compile_error").count(), 1, "{error}");
        }
    }

    #[test]
    fn all_errors_come_at_once() {
        let text = errors(quote! {
            trait Bad<'a> {
                type Item;
                fn not_async(&self);
                async fn borrows(&self, key: &str) -> &'static str;
                async fn by_value(self);
                async fn generic<T>(&self, x: T);
                #[oneway]
                async fn answers(&self) -> u8;
                #[timeout("soon")]
                async fn late(&self);
                #[oneway]
                #[idempotent]
                async fn tells(&self);
                #[idempotent]
                #[idempotent]
                async fn again(&self);
                async fn serve(&self);
            }
        });
        for part in [
            "cannot borrow",
            "methods only",
            "must be async",
            "write `String`",
            "`&self`",
            "cannot be generic",
            "gives nothing back",
            "whole number",
            "leave `#[idempotent]` out",
            "`#[idempotent]` is given twice",
            "another name",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    #[test]
    fn what_is_taken_twice_is_told_apart() {
        let mut seen = Seen::default();
        assert_eq!(seen.take_hash(5, "a()->()"), None);
        assert_eq!(seen.take_hash(5, "a()->()"), None);
        assert_eq!(seen.take_hash(5, "b()->()"), Some("a()->()".to_owned()));
        assert!(seen.take_name("a", true) && !seen.take_name("a", true));
        assert!(seen.take_name("b", false) && seen.take_name("b", false));
        let variants = ["get_all", "getAll", "_get_all", "get_all"].map(|name| seen.take_variant(name));
        assert_eq!(variants, ["GetAll", "Method_getAll", "Method__get_all", "GetAll"]);
    }

    #[test]
    fn durations_have_a_unit() {
        let parse = |text| parse_duration(&LitStr::new(text, proc_macro2::Span::call_site())).ok();
        assert_eq!(parse("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse("30s"), Some(Duration::from_secs(30)));
        assert_eq!(parse("2m"), Some(Duration::from_secs(120)));
        assert_eq!(parse("1h"), Some(Duration::from_secs(3600)));
        for bad in ["", "30", "s", "0s", "1.5s", "-1s", "1 s", "99999999999999999999h"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
