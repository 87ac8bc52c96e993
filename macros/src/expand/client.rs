//! The client.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use super::service::info;
use super::{Names, args_type, full_name, halves, info_name, item_attrs, wired};
use crate::ast::{Method, Output, Service};

pub(super) fn types(service: &Service, names: &Names) -> TokenStream {
    let Service { vis, ident, .. } = service;
    let Names { client, request, response, generics, .. } = names;
    let (_, arguments, where_clause) = generics.split_for_impl();
    let attrs = item_attrs(&format!(
        "A client of [`{ident}`]: each method calls the one of the service. Clones share one connection, which ends with the last of them."
    ));
    quote! {
        #attrs
        #vis struct #client #generics #where_clause {
            inner: ::panpipe::__private::Client<#request #arguments, #response #arguments>,
        }
    }
}

pub(super) fn impls(service: &Service, names: &Names) -> TokenStream {
    let Service { ident: trait_name, .. } = service;
    let Names { client, service: service_type, request, response, .. } = names;
    let (impl_generics, arguments, where_clause) = names.wire.split_for_impl();
    let methods = service.methods().map(|method| expand_method(service, names, method));
    let info = info(service);
    let debug_name = client.to_string();
    let params = service.params();
    let local_doc = format!(
        "Makes a client that calls `implementation` in this process, without a pipe: for tests, and in place of a [`{client}::connect`] that is not needed."
    );
    quote! {
        #[automatically_derived]
        impl #impl_generics #client #arguments #where_clause {
            /// Connects to the server of this name. The hello travels with the first call.
            ///
            /// # Errors
            ///
            /// `ConnectError` when there is no such server, or the name is none.
            pub fn connect(
                name: impl ::core::convert::TryInto<
                    ::panpipe::PipeName,
                    Error: ::core::convert::Into<::panpipe::NameError>,
                >,
            ) -> ::panpipe::Connect<Self> {
                ::panpipe::__private::connect(name)
            }

            /// Makes a client over any stream of bytes whose other end is served.
            ///
            /// # Panics
            ///
            /// Outside a tokio runtime.
            #[must_use]
            pub fn over(
                io: impl ::panpipe::__private::AsyncRead + ::panpipe::__private::AsyncWrite + ::core::marker::Send + 'static,
            ) -> Self {
                ::panpipe::__private::over(io)
            }

            #[doc = #local_doc]
            #[must_use]
            pub fn local(implementation: impl #trait_name #arguments) -> Self {
                let service = #service_type { implementation, types: ::core::marker::PhantomData };
                Self { inner: ::panpipe::__private::local(::panpipe::Serve::<#service_type<_, #(#params),*>>::new(service)) }
            }

            /// The same client, each of whose calls has this long at most. It
            /// counts from the call on and travels with it.
            #[must_use]
            pub fn with_timeout(&self, timeout: ::core::time::Duration) -> Self {
                Self { inner: self.inner.with_timeout(timeout) }
            }

            #(#methods)*
        }

        #[automatically_derived]
        impl #impl_generics ::panpipe::ServiceClient for #client #arguments #where_clause {
            type Req = #request #arguments;
            type Resp = #response #arguments;

            fn info() -> ::panpipe::ServiceInfo {
                #info
            }

            fn from_inner(inner: ::panpipe::__private::Client<Self::Req, Self::Resp>) -> Self {
                Self { inner }
            }

            fn inner(&self) -> &::panpipe::__private::Client<Self::Req, Self::Resp> {
                &self.inner
            }
        }

        #[automatically_derived]
        impl #impl_generics ::core::clone::Clone for #client #arguments #where_clause {
            fn clone(&self) -> Self {
                Self { inner: ::core::clone::Clone::clone(&self.inner) }
            }
        }

        #[automatically_derived]
        impl #impl_generics ::core::fmt::Debug for #client #arguments #where_clause {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.debug_struct(#debug_name).field("inner", &self.inner).finish()
            }
        }
    }
}

fn expand_method(service: &Service, names: &Names, method: &Method) -> TokenStream {
    let Names { request, response, .. } = names;
    let Method { ident, variant, .. } = method;
    let (info, args, params) = (info_name(method), args_type(method), service.params());
    let attrs = method.callers_attrs();
    let undocumented = !method.attrs.iter().any(|attr| attr.path().is_ident("doc"));
    let doc = undocumented.then(|| {
        let doc = format!("Calls `{}`.", full_name(service, method));
        quote!(#[doc = #doc])
    });
    let bindings: Vec<_> = method.args.iter().map(|arg| &arg.ident).collect();
    let types = method.args.iter().map(|arg| &arg.ty);
    let wireds = method.args.iter().map(|arg| {
        let (ident, wired) = (&arg.ident, wired(&arg.ty));
        quote!(<#wired>::new(#ident))
    });
    let indices = (0..bindings.len()).map(syn::Index::from);
    let to_request = {
        let args_name = format_ident!("args");
        quote!(|#args_name: #args| #request::#variant { #(#bindings: #args_name.#indices.into_inner()),* })
    };
    let signature = |output: TokenStream| {
        quote! {
            #(#attrs)*
            #doc
            pub fn #ident(&self, #(#bindings: #types),*) -> impl ::core::future::Future<Output = #output>
                + ::core::marker::Send + 'static + use<#(#params),*>
        }
    };
    if method.oneway {
        let signature = signature(quote!(::core::result::Result<(), ::panpipe::CallError>));
        return quote! {
            #signature {
                self.inner.oneway(&#info, (#(#wireds,)*), #to_request)
            }
        };
    }
    let halves = halves(&method.output);
    let (ok, err, ok_shape, err_shape) = (halves.ok, halves.err, halves.ok_shape, halves.err_shape);
    let result = match &method.output {
        Output::Plain(_) => quote!(::core::result::Result::Ok(output)),
        Output::Result { .. } => quote!(output),
        Output::Alias { .. } => quote!(::panpipe::__private::ResultParts::into_result(output)),
    };
    let error = match &method.output {
        Output::Plain(_) => quote!(::panpipe::CallError),
        Output::Result { .. } | Output::Alias { .. } => quote!(::panpipe::CallError<#err>),
    };
    let signature = signature(quote!(::core::result::Result<#ok, #error>));
    quote! {
        #signature {
            self.inner.call::<#args, #ok_shape, #ok, #err_shape, #err>(
                &#info,
                (#(#wireds,)*),
                #to_request,
                |response| match response {
                    #response::#variant(output) => ::core::option::Option::Some(#result),
                    _ => ::core::option::Option::None,
                },
            )
        }
    }
}
