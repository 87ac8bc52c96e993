//! Implementations of the trait: by an `Arc` of an implementation, and by the client if asked.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;

use super::Names;
use crate::ast::{Item, Method, Output, Service};

pub(super) fn impls(service: &Service, names: &Names) -> TokenStream {
    if service.items.iter().any(|item| matches!(item, Item::Inert(_))) {
        return TokenStream::new();
    }
    let shared = shared(service, names);
    let client = service.client_implements.then(|| client(service, names));
    quote!(#shared #client)
}

/// `impl Store for Arc<T>`.
fn shared(service: &Service, names: &Names) -> TokenStream {
    let Service { ident, supertraits, .. } = service;
    let mut generics = names.generics.clone();
    let (_, arguments, _) = names.generics.split_for_impl();
    generics.params.insert(0, syn::parse_quote!(__Shared: #ident #arguments));
    let supertraits: Vec<_> = supertraits.iter().collect();
    generics
        .make_where_clause()
        .predicates
        .push(syn::parse_quote!(::std::sync::Arc<__Shared>: #(#supertraits +)* ::core::marker::Send));
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    let methods = service.methods().map(|method| {
        let name = &method.ident;
        let bindings = method.args.iter().map(|arg| &arg.ident);
        let signature = signature(method);
        quote!(#signature { <__Shared as #ident #arguments>::#name(&**self, #(#bindings),*) })
    });
    quote! {
        #[automatically_derived]
        impl #impl_generics #ident #arguments for ::std::sync::Arc<__Shared> #where_clause {
            #(#methods)*
        }
    }
}

/// `impl Store for StoreClient`.
fn client(service: &Service, names: &Names) -> TokenStream {
    let ident = &service.ident;
    let client = &names.client;
    let (impl_generics, arguments, where_clause) = names.wire.split_for_impl();
    let methods = service.methods().map(|method| {
        let name = &method.ident;
        let bindings = method.args.iter().map(|arg| &arg.ident);
        let signature = signature(method);
        let span = match &method.output {
            Output::Result { err, .. } => err.span(),
            output => output.whole().span(),
        };
        let own_error = quote_spanned!(span=> ::panpipe::__private::own_error);
        quote!(#signature {
            let __call = Self::#name(self, #(#bindings),*);
            async move { __call.await.map_err(#own_error) }
        })
    });
    quote! {
        #[automatically_derived]
        impl #impl_generics #ident #arguments for #client #arguments #where_clause {
            #(#methods)*
        }
    }
}

fn signature(method: &Method) -> TokenStream {
    let (cfgs, ident, output) = (method.cfgs(), &method.ident, method.output.whole());
    let bindings = method.args.iter().map(|arg| &arg.ident);
    let types = method.args.iter().map(|arg| &arg.ty);
    quote! {
        #(#cfgs)*
        fn #ident(&self, #(#bindings: #types),*) -> impl ::core::future::Future<Output = #output> + ::core::marker::Send
    }
}
