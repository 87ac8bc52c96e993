//! The client for code that is not async.

use proc_macro2::TokenStream;
use quote::quote;

use super::client::{call, callers_result, method_attrs, to_request, wired_args};
use super::{Names, info_name, item_attrs};
use crate::ast::{Method, Service};

pub(super) fn types(service: &Service, names: &Names) -> TokenStream {
    let Service { vis, ident, .. } = service;
    let Names { client, blocking, generics, .. } = names;
    let (_, arguments, where_clause) = generics.split_for_impl();
    let attrs = item_attrs(&format!(
        "A client of [`{ident}`] for code that is not async: each method waits on the thread that calls it. Clones share one connection, which ends with the last of them; they may be used from many threads. It is made by [`{client}::connect_blocking`]."
    ));
    quote! {
        #attrs
        #vis struct #blocking #generics #where_clause {
            client: #client #arguments,
        }
    }
}

pub(super) fn impls(service: &Service, names: &Names) -> TokenStream {
    let Names { client, blocking, .. } = names;
    let (impl_generics, arguments, where_clause) = names.wire.split_for_impl();
    let methods = service.methods().map(|method| expand_method(service, names, method));
    let debug_name = blocking.to_string();
    quote! {
        #[automatically_derived]
        impl #impl_generics #blocking #arguments #where_clause {
            /// The same client, each of whose calls has this long at most. It
            /// counts from the call on and travels with it.
            #[must_use]
            pub fn with_timeout(&self, timeout: ::core::time::Duration) -> Self {
                Self { client: self.client.with_timeout(timeout) }
            }

            /// The same client, each of whose calls carries this value, which the other side reads
            /// by `panpipe::call::metadata`. It replaces another of the same name: see
            /// `panpipe::Metadata`.
            #[must_use]
            pub fn with_metadata(&self, __value: &impl ::panpipe::Metadata) -> Self {
                Self { client: self.client.with_metadata(__value) }
            }

            /// The same client, whose calls carry on the metadata of the call that is being
            /// answered where they are made.
            #[must_use]
            pub fn with_inherited_metadata(&self) -> Self {
                Self { client: self.client.with_inherited_metadata() }
            }

            #(#methods)*
        }

        #[automatically_derived]
        impl #impl_generics ::panpipe::BlockingServiceClient for #blocking #arguments #where_clause {
            type Async = #client #arguments;

            fn of_async(__client: Self::Async) -> Self {
                Self { client: __client }
            }

            fn as_async(&self) -> &Self::Async {
                &self.client
            }
        }

        #[automatically_derived]
        impl #impl_generics ::core::clone::Clone for #blocking #arguments #where_clause {
            fn clone(&self) -> Self {
                Self { client: ::core::clone::Clone::clone(&self.client) }
            }
        }

        #[automatically_derived]
        impl #impl_generics ::core::fmt::Debug for #blocking #arguments #where_clause {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.debug_struct(#debug_name).field("client", &self.client).finish()
            }
        }
    }
}

fn expand_method(service: &Service, names: &Names, method: &Method) -> TokenStream {
    let ident = &method.ident;
    let (attrs, output, args) =
        (method_attrs(service, method), callers_result(names, method), wired_args(names, method));
    let bindings = method.args.iter().map(|arg| &arg.ident);
    let types = method.args.iter().map(|arg| &arg.ty);
    let body = if method.oneway {
        let (info, to_request) = (info_name(method), to_request(names, method));
        quote!(self.client.inner.oneway_blocking(&#info, #args, #to_request))
    } else {
        call(names, method, &quote!(self.client.inner.call_blocking), &args)
    };
    quote! {
        #attrs
        ///
        /// # Errors
        ///
        /// What the call fails with.
        pub fn #ident(&self, #(#bindings: #types),*) -> #output {
            #body
        }
    }
}
