//! A shape of the trait's own for each type that may lack serde's traits.
//!
//! The generated code uses a type at many places, and each would add an error of its own to a
//! missing derive. The trait's own shape of the type implements `Shape` without a condition, so
//! the other places compile; the only errors are those in the body of that implementation. All of
//! them have the same place, where the first hides the ones that follow from it.

use std::collections::HashMap;

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Generics, Ident, Type};

use super::item_attrs;
use crate::ast::{Method, Output, Service};
use crate::parts::{Part, Parts};
use crate::shape::shape;

/// The traits that a value and an error are checked against. They differ in their advice.
const VALUE: &str = "Transferable";
const ERROR: &str = "TransferableError";

/// The shapes of a trait's types.
pub(super) struct Shapes {
    own: Vec<OwnShape>,
    /// The place of an own shape by the text of its type and the configuration it is there in.
    places: HashMap<String, usize>,
    /// The type arguments of each own shape.
    arguments: TokenStream,
}

struct OwnShape {
    ident: Ident,
    ty: TokenStream,
    /// The shape without the check.
    inner: TokenStream,
    /// What is checked before the whole type.
    parts: Vec<Part>,
    /// What this shape may have in common with others: the texts of its parts.
    texts: Vec<String>,
    /// The name of the trait that the type and its parts are checked against.
    bound: &'static str,
    cfgs: Vec<Attribute>,
    span: Span,
}

impl Shapes {
    pub(super) fn new(service: &Service) -> Self {
        let (_, arguments, _) = service.generics.split_for_impl();
        let mut shapes =
            Shapes { own: Vec::new(), places: HashMap::new(), arguments: arguments.to_token_stream() };
        for method in service.methods() {
            for arg in &method.args {
                shapes.add(service, method, &arg.ty, &arg.ty, VALUE);
            }
            match &method.output {
                _ if method.oneway => {}
                Output::Plain(whole) => shapes.add(service, method, whole, whole, VALUE),
                Output::Result { ok, err, .. } => {
                    shapes.add(service, method, ok, ok, VALUE);
                    shapes.add(service, method, err, err, ERROR);
                }
                Output::Alias { whole, ok } => {
                    if let Some(ok) = ok {
                        shapes.add(service, method, &alias_ok(whole), ok, VALUE);
                    }
                    shapes.add_alias_error(service, method, whole);
                }
            }
        }
        shapes.unite();
        shapes
    }

    /// Adds an own shape for `ty`, whose parts are seen in `text`, unless each of them is known to
    /// implement serde's traits.
    fn add(
        &mut self,
        service: &Service,
        method: &Method,
        ty: &impl ToTokens,
        text: &Type,
        bound: &'static str,
    ) {
        let Parts { all, span } = Parts::of(text, &service.params());
        let Some(span) = span else { return };
        let texts = all.iter().map(|part| part.ty.to_token_stream().to_string()).collect();
        // Where several parts share a place this is the whole type.
        let span = if all.len() > 1 { text.span() } else { span };
        self.insert(service, method, ty, |ident| OwnShape {
            ident,
            ty: ty.to_token_stream(),
            inner: shape(text),
            parts: all,
            texts,
            bound,
            cfgs: method.cfgs().cloned().collect(),
            span,
        });
    }

    /// Adds an own shape for the error behind an alias. All uses of an alias have one error type.
    fn add_alias_error(&mut self, service: &Service, method: &Method, whole: &Type) {
        let Type::Path(path) = whole else { return };
        let Some(last) = path.path.segments.last() else { return };
        let names: Vec<_> = path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let ty = alias_error(whole);
        self.insert(service, method, &ty.clone(), |ident| OwnShape {
            ident,
            ty,
            inner: quote!(::panpipe::__private::Plain),
            parts: Vec::new(),
            texts: vec![format!("the error of {}", names.join("::"))],
            bound: ERROR,
            cfgs: method.cfgs().cloned().collect(),
            span: last.ident.span(),
        });
    }

    /// Keeps an own shape, unless the type has one in the same configuration.
    fn insert(
        &mut self,
        service: &Service,
        method: &Method,
        ty: &impl ToTokens,
        make: impl FnOnce(Ident) -> OwnShape,
    ) {
        let next = self.own.len();
        if *self.places.entry(key(ty, method)).or_insert(next) == next {
            self.own.push(make(format_ident!("__Panpipe{}Shape{}", service.ident, next)));
        }
    }

    /// Gives all shapes that have a part in common one place and one trait to check against, so
    /// that the compiler sees the same error in each and reports it once.
    fn unite(&mut self) {
        let mut groups: Vec<usize> = (0..self.own.len()).collect();
        let mut owners: HashMap<&str, usize> = HashMap::new();
        for (index, shape) in self.own.iter().enumerate() {
            for text in &shape.texts {
                let (a, b) = (groups[index], groups[*owners.entry(text).or_insert(index)]);
                for group in &mut groups {
                    if *group == a.max(b) {
                        *group = a.min(b);
                    }
                }
            }
        }
        // The place is the type with most of the parts.
        let mut leaders = groups.clone();
        for (index, group) in groups.iter().enumerate() {
            if self.own[index].parts.len() > self.own[leaders[*group]].parts.len() {
                leaders[*group] = index;
            }
        }
        for (index, group) in groups.into_iter().enumerate() {
            self.own[index].span = self.own[leaders[group]].span;
            self.own[index].bound = self.own[group].bound;
        }
    }

    /// The shape of an argument or of a result without an error.
    pub(super) fn of(&self, method: &Method, ty: &Type) -> TokenStream {
        self.own_of(method, ty).unwrap_or_else(|| shape(ty))
    }

    /// The shapes of both halves of a method's result behind an alias.
    pub(super) fn of_alias(&self, method: &Method, whole: &Type, ok: Option<&Type>) -> [TokenStream; 2] {
        let plain = || quote!(::panpipe::__private::Plain);
        let ok = self.own_of(method, &alias_ok(whole)).unwrap_or_else(|| ok.map_or_else(plain, shape));
        let error = self.own_of(method, &alias_error(whole)).unwrap_or_else(plain);
        [ok, error]
    }

    fn own_of(&self, method: &Method, ty: &impl ToTokens) -> Option<TokenStream> {
        let shape = &self.own[*self.places.get(&key(ty, method))?];
        let (ident, arguments) = (&shape.ident, &self.arguments);
        Some(quote!(#ident #arguments))
    }

    pub(super) fn types(&self, service: &Service) -> TokenStream {
        let Service { vis, ident, .. } = service;
        let (_, _, where_clause) = service.generics.split_for_impl();
        let generics = &service.generics;
        let params = service.params();
        let attrs = item_attrs(&format!("How a type of [`{ident}`] travels."));
        self.own
            .iter()
            .map(|OwnShape { ident, cfgs, .. }| {
                quote! {
                    #(#cfgs)*
                    #[doc(hidden)]
                    #attrs
                    #vis struct #ident #generics (::core::marker::PhantomData<fn() -> (#(#params,)*)>) #where_clause;
                }
            })
            .collect()
    }

    pub(super) fn impls(&self, wire: &Generics) -> TokenStream {
        let impls = self.own.iter().map(|shape| shape.implementation(wire, &self.arguments));
        let has_parts = self.own.iter().any(|shape| !shape.parts.is_empty());
        let names = has_parts.then(|| {
            quote!(
                #[allow(unused_imports)]
                use ::panpipe::__private::WithoutParts as _;
            )
        });
        quote!(#names #(#impls)*)
    }
}

impl OwnShape {
    fn implementation(&self, wire: &Generics, arguments: &TokenStream) -> TokenStream {
        let OwnShape { ident, ty, inner, bound, cfgs, span, .. } = self;
        let (impl_generics, _, where_clause) = wire.split_for_impl();
        let span = *span;
        let bound = Ident::new(bound, span);
        // Every token of the bodies has the same place, so that all errors have it too.
        let here = placed(ty.clone(), |token| span.resolved_at(token));
        let inner = placed(inner.clone(), |_| span);
        let value = Ident::new("__value", span);
        let input = Ident::new("__input", span);
        let of = quote_spanned!(span=> ::panpipe::__private::Parts::<#here>::new());
        let checks = self.parts.iter().map(|part| {
            let steps = part.steps.iter().map(|step| format_ident!("__part{step}", span = span));
            quote_spanned!(span=> <_ as ::panpipe::__private::#bound>::check(#of #(.#steps())*);)
        });
        let checks = quote_spanned! {span=>
            #(#checks)*
            <_ as ::panpipe::__private::#bound>::check(#of);
        };
        let serialize =
            quote_spanned!(span=> <#inner as ::panpipe::__private::Shape<_>>::serialize(#value, #input));
        let deserialize =
            quote_spanned!(span=> <#inner as ::panpipe::__private::Shape<_>>::deserialize(#input));
        quote! {
            #(#cfgs)*
            #[automatically_derived]
            impl #impl_generics ::panpipe::__private::Shape<#ty> for #ident #arguments #where_clause {
                #[inline]
                fn serialize<__S: ::panpipe::__private::serde::Serializer>(
                    #value: &#ty,
                    #input: __S,
                ) -> ::core::result::Result<__S::Ok, __S::Error> {
                    #checks
                    #serialize
                }

                #[inline]
                fn deserialize<'__de, __D: ::panpipe::__private::serde::Deserializer<'__de>>(
                    #input: __D,
                ) -> ::core::result::Result<#ty, __D::Error> {
                    #checks
                    #deserialize
                }
            }
        }
    }
}

/// The type of the value in a result behind an alias.
pub(super) fn alias_ok(whole: &Type) -> TokenStream {
    quote!(<#whole as ::panpipe::__private::ResultParts>::Ok)
}

/// The type of the error in a result behind an alias.
pub(super) fn alias_error(whole: &Type) -> TokenStream {
    quote!(<#whole as ::panpipe::__private::ResultParts>::Err)
}

fn key(ty: &impl ToTokens, method: &Method) -> String {
    let cfgs = method.cfgs();
    quote!(#ty #(#cfgs)*).to_string()
}

/// The same tokens at other places.
fn placed(tokens: TokenStream, place: impl Fn(Span) -> Span + Copy) -> TokenStream {
    tokens
        .into_iter()
        .map(|mut token| {
            let span = place(token.span());
            if let TokenTree::Group(group) = &token {
                token = Group::new(group.delimiter(), placed(group.stream(), place)).into();
            }
            token.set_span(span);
            token
        })
        .collect()
}
