//! From a service to its code: the trait as users implement it, the service
//! that calls an implementation, the messages as values, the client.

mod blocking;
mod client;
mod messages;
mod service;
mod service_trait;
mod shapes;
mod trait_impls;

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Generics, Ident, Type};

use crate::ast::{Method, Output, Service, ServiceName};
use shapes::{Shapes, alias_error, alias_ok};

/// All code of a service.
pub(crate) fn service(service: &Service) -> TokenStream {
    let names = Names::new(service);
    let service_trait = service_trait::expand(service, &names);
    let messages = messages::expand(service, &names);
    let clients = [client::types(service, &names), blocking::types(service, &names)];
    let service_type = service::types(service, &names);
    let shapes = names.shapes.types(service);
    let methods = service.methods().map(method_info(service));
    let impls = [
        names.shapes.impls(&names.wire),
        messages::impls(service, &names),
        service::impls(service, &names),
        client::impls(service, &names),
        blocking::impls(service, &names),
        trait_impls::impls(service, &names),
    ];
    quote! {
        #service_trait
        #messages
        #service_type
        #(#clients)*
        #shapes
        // In a scope of their own the methods' names are nobody's.
        #[allow(deprecated, unreachable_patterns, unused_qualifications, non_upper_case_globals, non_snake_case)]
        #[allow(clippy::all, clippy::pedantic, clippy::nursery)]
        const _: () = {
            #(#methods)*
            #(#impls)*
        };
    }
}

/// The names of what is generated, and the trait's generics in the forms needed.
struct Names {
    service: Ident,
    client: Ident,
    blocking: Ident,
    request: Ident,
    response: Ident,
    /// As the trait declares them.
    generics: Generics,
    /// With what a type argument needs to cross to another process.
    wire: Generics,
    shapes: Shapes,
}

impl Names {
    fn new(service: &Service) -> Self {
        let mut wire = service.generics.clone();
        for param in wire.type_params_mut() {
            param.bounds.push(syn::parse_quote!(::panpipe::__private::Wire));
        }
        Names {
            // Users name the client only. The others have names that no user has.
            service: format_ident!("__Panpipe{}Service", service.ident),
            blocking: match &service.client {
                None => format_ident!("{}BlockingClient", service.ident),
                Some(client) => format_ident!("{}Blocking", client),
            },
            client: service.client.clone().unwrap_or_else(|| format_ident!("{}Client", service.ident)),
            request: format_ident!("__Panpipe{}Request", service.ident),
            response: format_ident!("__Panpipe{}Response", service.ident),
            generics: service.generics.clone(),
            wire,
            shapes: Shapes::new(service),
        }
    }

    /// The generics of the service type: the implementation first.
    fn with_implementation(&self, service: &Service) -> Generics {
        let mut generics = self.wire.clone();
        let trait_name = &service.ident;
        let (_, arguments, _) = self.generics.split_for_impl();
        generics.params.insert(0, syn::parse_quote!(__Implementation: #trait_name #arguments));
        generics
    }
}

/// The name of the static that says what is known of a method.
fn info_name(method: &Method) -> Ident {
    format_ident!("__METHOD_{}", method.variant)
}

fn method_info(service: &Service) -> impl Fn(&Method) -> TokenStream + '_ {
    |method| {
        let (cfgs, info, hash) = (method.cfgs(), info_name(method), method.hash);
        let name = full_name(service, method);
        let timeout = method.timeout.map(|timeout| {
            let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            quote!(.with_timeout(::core::time::Duration::from_millis(#millis)))
        });
        let idempotent = method.idempotent.then(|| quote!(.idempotent()));
        let generic = (!service.params().is_empty()).then(|| quote!(.generic()));
        let since = method.since.map(|version| quote!(.since(#version)));
        quote! {
            #(#cfgs)*
            static #info: ::panpipe::__private::MethodInfo = ::panpipe::__private::MethodInfo::new(#name, #hash) #timeout #idempotent #since #generic;
        }
    }
}

/// The expression of `"Store.get"`.
fn full_name(service: &Service, method: &Method) -> TokenStream {
    match &service.name {
        ServiceName::Text(name) => format!("{name}.{}", method.name).to_token_stream(),
        ServiceName::Constant(path) => {
            let method = &method.name;
            quote!({
                const __NAME: &str = ::panpipe::__private::join(
                    &::panpipe::__private::joined::<{ ::panpipe::__private::joined_len(#path, #method) }>(#path, #method),
                );
                __NAME
            })
        }
    }
}

/// The expression of the service's name.
fn service_name(service: &Service) -> TokenStream {
    match &service.name {
        ServiceName::Text(name) => name.to_token_stream(),
        ServiceName::Constant(path) => path.to_token_stream(),
    }
}

/// The same name for documentation.
fn documented_name(service: &Service, method: &Method) -> String {
    match &service.name {
        ServiceName::Text(name) => format!("{name}.{}", method.name),
        ServiceName::Constant(_) => format!("{}.{}", service.ident, method.name),
    }
}

/// A type of a method's in its shape.
fn wired(names: &Names, method: &Method, ty: &Type) -> TokenStream {
    wired_as(&names.shapes.of(method, ty), ty)
}

fn wired_as(shape: &TokenStream, ty: &impl ToTokens) -> TokenStream {
    let ty = ty.to_token_stream();
    quote_spanned!(ty.span()=> ::panpipe::__private::Wired<#shape, #ty>)
}

/// The tuple of a method's arguments as it travels.
fn args_type(names: &Names, method: &Method) -> TokenStream {
    let args = method.args.iter().map(|arg| wired(names, method, &arg.ty));
    quote!((#(#args,)*))
}

/// What a method's caller gets, in two halves, each with its shape.
struct Halves {
    ok: TokenStream,
    ok_shape: TokenStream,
    err: TokenStream,
    err_shape: TokenStream,
}

fn halves(names: &Names, method: &Method) -> Halves {
    let shapes = &names.shapes;
    match &method.output {
        Output::Plain(whole) => Halves {
            ok: whole.to_token_stream(),
            ok_shape: shapes.of(method, whole),
            err: quote!(::panpipe::NoError),
            err_shape: quote!(::panpipe::__private::Never),
        },
        Output::Result { ok, err, .. } => Halves {
            ok: ok.to_token_stream(),
            ok_shape: shapes.of(method, ok),
            err: err.to_token_stream(),
            err_shape: shapes.of(method, err),
        },
        Output::Alias { whole, ok } => {
            let [ok_shape, err_shape] = shapes.of_alias(method, whole, ok.as_ref());
            Halves { ok: alias_ok(whole), ok_shape, err: alias_error(whole), err_shape }
        }
    }
}

/// The attributes of a generated type: its documentation, and no lints.
fn item_attrs(doc: &str) -> TokenStream {
    quote! {
        #[doc = #doc]
        #[allow(clippy::all, clippy::pedantic, clippy::nursery, missing_debug_implementations, unreachable_pub, dead_code, non_snake_case, non_camel_case_types)]
    }
}
