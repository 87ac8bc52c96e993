//! The trait as users implement it.

use proc_macro2::TokenStream;
use quote::quote;
use syn::TraitItem;

use super::Names;
use super::service::new_order;
use crate::ast::{Item, Method, Service};

pub(super) fn expand(service: &Service, names: &Names) -> TokenStream {
    let Service { attrs, vis, trait_token, ident, generics, supertraits, items, .. } = service;
    let (_, _, where_clause) = generics.split_for_impl();
    let items = items.iter().map(|item| match item {
        Item::Method(method) => expand_method(method),
        Item::Inert(item) => quote!(#item),
    });
    let serve = (!has_serve(service)).then(|| expand_serve(service, names));
    quote! {
        #(#attrs)*
        #vis #trait_token #ident #generics: #(#supertraits +)* ::core::marker::Send + ::core::marker::Sync + 'static #where_clause {
            #(#items)*
            #serve
        }
    }
}

fn expand_method(method: &Method) -> TokenStream {
    let Method { attrs, ident, output, default, .. } = method;
    let output = output.whole();
    let args = method.args.iter().map(|arg| {
        let (ident, ty) = (&arg.ident, &arg.ty);
        // A trait's method without a body names its arguments and no more.
        let mutable = (arg.mutable && default.is_some()).then(|| quote!(mut));
        quote!(#mutable #ident: #ty)
    });
    let body = match default {
        Some(block) => quote!({ async move #block }),
        None => quote!(;),
    };
    quote! {
        #(#attrs)*
        #[allow(clippy::manual_async_fn)]
        fn #ident(&self, #(#args),*) -> impl ::core::future::Future<Output = #output> + ::core::marker::Send #body
    }
}

/// Whether an item that had an error has taken the name of the provided method.
fn has_serve(service: &Service) -> bool {
    service.items.iter().any(|item| match item {
        Item::Inert(item) => matches!(&**item, TraitItem::Fn(method) if method.sig.ident == "serve"),
        Item::Method(_) => false,
    })
}

fn expand_serve(service: &Service, names: &Names) -> TokenStream {
    let params = service.params();
    let (service_type, order) = (&names.service, new_order(service));
    quote! {
        /// Makes a service of this implementation, for a server to serve.
        #[must_use]
        fn serve(self) -> ::panpipe::Serve<#service_type<Self, #(#params),*>>
        where
            Self: ::core::marker::Sized,
        {
            ::panpipe::Serve::new(#service_type { implementation: self, #order types: ::core::marker::PhantomData })
        }
    }
}
