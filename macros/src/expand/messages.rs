//! Requests and responses as values: what stock tarpc and a local client carry.

use proc_macro2::TokenStream;
use quote::quote;

use super::{Halves, Names, full_name, halves, item_attrs};
use crate::ast::{Method, Output, Service};
use crate::shape::serde_with;

pub(super) fn expand(service: &Service, names: &Names) -> TokenStream {
    let Service { vis, ident, .. } = service;
    let Names { request, response, generics, .. } = names;
    let (_, _, where_clause) = generics.split_for_impl();
    let requests = service.methods().map(|method| request_variant(service, names, method));
    let responses = service.methods().map(|method| response_variant(service, names, method));
    let types = types_variant(service);
    let serde = serde_attrs(service);
    let request_attrs = item_attrs(&format!("A call of [`{ident}`] as a value."));
    let response_attrs = item_attrs(&format!("What a call of [`{ident}`] gives, as a value."));
    quote! {
        #request_attrs
        #serde
        #vis enum #request #generics #where_clause {
            #(#requests,)*
            #types
        }

        #response_attrs
        #serde
        #vis enum #response #generics #where_clause {
            #(#responses,)*
            #types
        }
    }
}

pub(super) fn impls(service: &Service, names: &Names) -> TokenStream {
    let request = &names.request;
    let (impl_generics, arguments, where_clause) = names.wire.split_for_impl();
    let arms = service.methods().map(|method| {
        let (cfgs, variant, name) = (method.cfgs(), &method.variant, full_name(service, method));
        quote!(#(#cfgs)* #request::#variant { .. } => #name,)
    });
    let never =
        (!service.params().is_empty()).then(|| quote!(#request::__Types(_, __never) => match __never {},));
    quote! {
        #[automatically_derived]
        impl #impl_generics ::panpipe::__private::Request for #request #arguments #where_clause {
            fn name(&self) -> &'static str {
                match *self {
                    #(#arms)*
                    #never
                }
            }
        }
    }
}

fn serde_attrs(service: &Service) -> TokenStream {
    let params = service.params();
    let bound = (!params.is_empty()).then(|| {
        let bound = params
            .iter()
            .map(|param| format!("{param}: ::panpipe::__private::Wire"))
            .collect::<Vec<_>>()
            .join(", ");
        quote!(#[serde(bound(serialize = #bound, deserialize = #bound))])
    });
    quote! {
        #[derive(::panpipe::__private::serde::Serialize, ::panpipe::__private::serde::Deserialize)]
        #[serde(crate = "::panpipe::__private::serde")]
        #bound
    }
}

/// A variant that cannot be made and that uses every type parameter.
fn types_variant(service: &Service) -> Option<TokenStream> {
    let params = service.params();
    (!params.is_empty()).then(|| {
        quote! {
            #[doc(hidden)]
            #[serde(skip)]
            __Types(::core::marker::PhantomData<fn() -> (#(#params,)*)>, ::core::convert::Infallible),
        }
    })
}

fn request_variant(service: &Service, names: &Names, method: &Method) -> TokenStream {
    let (cfgs, variant) = (method.cfgs(), &method.variant);
    let doc = format!("A call of [`{}::{}`].", service.ident, method.name);
    let fields = method.args.iter().map(|arg| {
        let (ident, ty, with) = (&arg.ident, &arg.ty, serde_with(&names.shapes.of(method, &arg.ty)));
        let doc = format!("The argument `{ident}`.");
        quote!(#[doc = #doc] #with #ident: #ty)
    });
    quote!(#[doc = #doc] #(#cfgs)* #variant { #(#fields),* })
}

fn response_variant(service: &Service, names: &Names, method: &Method) -> TokenStream {
    let (cfgs, variant) = (method.cfgs(), &method.variant);
    let doc = format!("What [`{}::{}`] gives.", service.ident, method.name);
    if method.oneway {
        return quote!(#[doc = #doc] #(#cfgs)* #variant);
    }
    let whole = method.output.whole();
    let Halves { ok_shape, err_shape, .. } = halves(names, method);
    let with = match &method.output {
        Output::Plain(_) => serde_with(&ok_shape),
        Output::Result { .. } | Output::Alias { .. } => {
            let has_own = [&ok_shape, &err_shape].into_iter().any(|shape| serde_with(shape).is_some());
            has_own
                .then(|| quote!(::panpipe::__private::Res<#ok_shape, #err_shape>))
                .and_then(|shape| serde_with(&shape))
        }
    };
    quote!(#[doc = #doc] #(#cfgs)* #variant(#with #whole))
}
