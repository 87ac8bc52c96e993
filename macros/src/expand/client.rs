//! The client.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use super::service::{info, new_order};
use super::{Halves, Names, args_type, documented_name, halves, info_name, item_attrs, wired};
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
    let Names { client, blocking, service: service_type, request, response, .. } = names;
    let (impl_generics, arguments, where_clause) = names.wire.split_for_impl();
    let mut deserialize = names.wire.clone();
    deserialize.params.insert(0, syn::parse_quote!('__de));
    let (de_generics, _, _) = deserialize.split_for_impl();
    let methods = service.methods().map(|method| expand_method(service, names, method));
    let relays = service.methods().map(|method| relay_arm(service, names, method));
    let (info, order) = (info(service), new_order(service));
    let oneway = service.is_oneway().then(|| {
        quote! {
            #[automatically_derived]
            impl #impl_generics ::panpipe::OnewayService for #client #arguments #where_clause {}
        }
    });
    let debug_name = client.to_string();
    let connect_blocking_doc = format!(
        "Connects to the server of this name, without a runtime: each method of a [`{blocking}`] waits on the thread that calls it. It is `connect(name).blocking()`, see `panpipe::Connect::blocking`."
    );
    let params = service.params();
    let offer_doc = "Makes a client of a service of this process, to be passed to another as an argument, a result or a stream's item: whoever has it calls back. The service is dropped with the last client of it, here and there.";
    let local_encoded_doc = format!(
        "Makes a client that calls `implementation` in this process, over a connection in memory: arguments and replies are encoded by `codec` and decoded, as a [`{client}::connect`] has it. Use it in tests; [`{client}::local`] encodes nothing, and so accepts types and values that no codec carries."
    );
    let local_doc = format!(
        "Makes a client that calls `implementation` in this process, without a pipe and without encoding: in place of a [`{client}::connect`] that is not needed. In tests use [`{client}::local_encoded`]."
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

            #[doc = #connect_blocking_doc]
            ///
            /// # Errors
            ///
            /// `ConnectError` when there is no such server, or the name is none.
            pub fn connect_blocking(
                name: impl ::core::convert::TryInto<
                    ::panpipe::PipeName,
                    Error: ::core::convert::Into<::panpipe::NameError>,
                >,
            ) -> ::core::result::Result<#blocking #arguments, ::panpipe::ConnectError> {
                Self::connect(name).blocking()
            }

            /// The same client for code that is not async: each call waits on its own thread,
            /// which must be none that others' tasks need.
            #[must_use]
            pub fn blocking(&self) -> #blocking #arguments {
                ::panpipe::BlockingServiceClient::of_async(::core::clone::Clone::clone(self))
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
                let service = #service_type { implementation, #order types: ::core::marker::PhantomData };
                Self { inner: ::panpipe::__private::local(::panpipe::Serve::<#service_type<_, #(#params),*>>::new(service)) }
            }

            #[doc = #local_encoded_doc]
            ///
            /// # Panics
            ///
            /// Outside a tokio runtime.
            #[must_use]
            pub fn local_encoded(implementation: impl #trait_name #arguments, codec: ::panpipe::Codec) -> Self {
                let service = #service_type { implementation, #order types: ::core::marker::PhantomData };
                ::panpipe::__private::local_encoded(::panpipe::Serve::<#service_type<_, #(#params),*>>::new(service), codec)
            }

            #[doc = #offer_doc]
            #[must_use]
            pub fn offer(service: ::panpipe::Serve<#service_type<impl #trait_name #arguments, #(#params),*>>) -> Self {
                Self { inner: ::panpipe::__private::local(service) }
            }

            /// The same client, each of whose calls has this long at most. It
            /// counts from the call on and travels with it.
            #[must_use]
            pub fn with_timeout(&self, timeout: ::core::time::Duration) -> Self {
                Self { inner: self.inner.with_timeout(timeout) }
            }

            /// The same client, each of whose calls carries this value, which the other side reads
            /// by `panpipe::call::metadata`. It replaces another of the same name: see
            /// `panpipe::Metadata`.
            #[must_use]
            pub fn with_metadata(&self, __value: &impl ::panpipe::Metadata) -> Self {
                Self { inner: self.inner.with_metadata(__value) }
            }

            /// The same client, whose calls carry on the metadata of the call that is being
            /// answered where they are made.
            #[must_use]
            pub fn with_inherited_metadata(&self) -> Self {
                Self { inner: self.inner.with_inherited_metadata() }
            }

            /// The same client, each of whose calls passes a layer, and then the layers
            /// given before: see `panpipe::layer`. The timeout counts in the layers too.
            #[must_use]
            pub fn with_layer(&self, layer: impl ::panpipe::layer::CallLayer) -> Self {
                Self { inner: self.inner.with_layer(layer) }
            }

            #(#methods)*
        }

        #[automatically_derived]
        impl #impl_generics ::panpipe::ServiceClient for #client #arguments #where_clause {
            type Req = #request #arguments;
            type Resp = #response #arguments;
            type Blocking = #blocking #arguments;

            fn info() -> ::panpipe::ServiceInfo {
                #info
            }

            fn from_inner(inner: ::panpipe::__private::Client<Self::Req, Self::Resp>) -> Self {
                Self { inner }
            }

            fn inner(&self) -> &::panpipe::__private::Client<Self::Req, Self::Resp> {
                &self.inner
            }

            fn relay(
                &self,
                __call: ::panpipe::__private::IncomingCall<'_>,
            ) -> ::panpipe::__private::Dispatched {
                match __call.method() {
                    #(#relays)*
                    _ => __call.unknown_method(),
                }
            }
        }

        #oneway

        #[automatically_derived]
        impl #impl_generics ::panpipe::__private::serde::Serialize for #client #arguments #where_clause {
            fn serialize<__S: ::panpipe::__private::serde::Serializer>(
                &self,
                serializer: __S,
            ) -> ::core::result::Result<__S::Ok, __S::Error> {
                ::panpipe::__private::Client::serialize_as_port(self, serializer)
            }
        }

        #[automatically_derived]
        impl #de_generics ::panpipe::__private::serde::Deserialize<'__de> for #client #arguments #where_clause {
            fn deserialize<__D: ::panpipe::__private::serde::Deserializer<'__de>>(
                deserializer: __D,
            ) -> ::core::result::Result<Self, __D::Error> {
                ::core::result::Result::Ok(Self {
                    inner: ::panpipe::__private::Client::deserialize_from_port(deserializer)?,
                })
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

/// The attributes of a client's method, its documentation among them.
pub(super) fn method_attrs(service: &Service, method: &Method) -> TokenStream {
    let attrs = method.callers_attrs();
    let undocumented = !method.attrs.iter().any(|attr| attr.path().is_ident("doc"));
    let doc = undocumented.then(|| {
        let doc = format!("Calls `{}`.", documented_name(service, method));
        quote!(#[doc = #doc])
    });
    let since = method.since.map(|since| {
        let doc = format!(
            "\n\nOf version {since} on: a call to a side that speaks an older one fails by `CallError::UnknownMethod`."
        );
        quote!(#[doc = #doc])
    });
    quote! {
        #(#attrs)*
        #doc
        #since
    }
}

/// A method's result as a client's caller gets it.
pub(super) fn callers_result(names: &Names, method: &Method) -> TokenStream {
    if method.oneway {
        return quote!(::core::result::Result<(), ::panpipe::CallError>);
    }
    let Halves { ok, err, .. } = halves(names, method);
    let error = match &method.output {
        Output::Plain(_) => quote!(::panpipe::CallError),
        Output::Result { .. } | Output::Alias { .. } => quote!(::panpipe::CallError<#err>),
    };
    quote!(::core::result::Result<#ok, #error>)
}

/// A method's arguments as they travel, as a tuple.
pub(super) fn wired_args(names: &Names, method: &Method) -> TokenStream {
    let wireds = method.args.iter().map(|arg| {
        let (ident, wired) = (&arg.ident, wired(names, method, &arg.ty));
        quote!(<#wired>::new(#ident))
    });
    quote!((#(#wireds,)*))
}

fn expand_method(service: &Service, names: &Names, method: &Method) -> TokenStream {
    let ident = &method.ident;
    let (info, params) = (info_name(method), service.params());
    let (attrs, output) = (method_attrs(service, method), callers_result(names, method));
    let bindings = method.args.iter().map(|arg| &arg.ident);
    let types = method.args.iter().map(|arg| &arg.ty);
    let args = wired_args(names, method);
    let body = if method.oneway {
        let to_request = to_request(names, method);
        quote!(self.inner.oneway(&#info, #args, #to_request))
    } else {
        call(names, method, &quote!(self.inner.call), &args)
    };
    let future = quote! {
        impl ::core::future::Future<Output = #output> + ::core::marker::Send + 'static + use<#(#params),*>
    };
    let (future, body) = if method.oneway {
        (quote!(::panpipe::OnewayCall<#future>), quote!(::panpipe::OnewayCall::new(#body)))
    } else {
        (future, body)
    };
    quote! {
        #attrs
        pub fn #ident(&self, #(#bindings: #types),*) -> #future {
            #body
        }
    }
}

/// A method's arguments as a request.
pub(super) fn to_request(names: &Names, method: &Method) -> TokenStream {
    let (request, variant, args) = (&names.request, &method.variant, args_type(names, method));
    let bindings = method.args.iter().map(|arg| &arg.ident);
    let indices = (0..method.args.len()).map(syn::Index::from);
    let args_name = format_ident!("__args");
    quote!(|#args_name: #args| #request::#variant { #(#bindings: #args_name.#indices.into_inner()),* })
}

/// A call, by this function of a client's, of a method of which something comes back.
pub(super) fn call(names: &Names, method: &Method, by: &TokenStream, args: &TokenStream) -> TokenStream {
    let (response, variant) = (&names.response, &method.variant);
    let (info, args_type, to_request) =
        (info_name(method), args_type(names, method), to_request(names, method));
    let Halves { ok, err, ok_shape, err_shape } = halves(names, method);
    let result = match &method.output {
        Output::Plain(_) => quote!(::core::result::Result::Ok(__output)),
        Output::Result { .. } => quote!(__output),
        Output::Alias { .. } => quote!(::panpipe::__private::ResultParts::into_result(__output)),
    };
    quote! {
        #by::<#args_type, #ok_shape, #ok, #err_shape, #err>(
            &#info,
            #args,
            #to_request,
            |__response| match __response {
                #response::#variant(__output) => ::core::option::Option::Some(#result),
                _ => ::core::option::Option::None,
            },
        )
    }
}

/// The call of a method that another process makes of a client.
fn relay_arm(service: &Service, names: &Names, method: &Method) -> TokenStream {
    let (cfgs, hash, info, args) = (method.cfgs(), method.hash, info_name(method), args_type(names, method));
    let body = if method.oneway {
        let to_request = to_request(names, method);
        quote! {
            __call.oneway(&#info, move |__args: #args| async move {
                let __sent = __client.oneway(&#info, __args, #to_request).await;
                ::panpipe::__private::passed_on(&#info, __sent);
            })
        }
    } else {
        let made = call(names, method, &quote!(__client.call), &quote!(__args));
        let Halves { ok, err, ok_shape, err_shape } = halves(names, method);
        quote! {
            __call.relay::<_, #ok_shape, #ok, #err_shape, #err, _, _>(&#info, move |__args: #args| #made)
        }
    };
    let name = documented_name(service, method);
    quote! {
        #[doc = #name]
        #(#cfgs)*
        #hash => {
            let __client = ::core::clone::Clone::clone(&self.inner);
            #body
        }
    }
}
