//! The service type: an implementation of the trait, called by the engine with
//! bytes and by others with values.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use super::{
    Names, args_type, documented_name, halves, info_name, item_attrs, service_name, wired, wired_as,
};
use crate::ast::{Method, Output, Service, Versions};

pub(super) fn types(service: &Service, names: &Names) -> TokenStream {
    let Service { vis, ident, .. } = service;
    let service_type = &names.service;
    let attrs = item_attrs(&format!(
        "An implementation of [`{ident}`] as a service: what [`serve`]({ident}::serve) makes."
    ));
    let mut generics = names.generics.clone();
    generics.params.insert(0, syn::parse_quote!(__Implementation));
    let (_, _, where_clause) = names.generics.split_for_impl();
    let params = service.params();
    let order = service.is_ordered().then(|| quote!(order: ::panpipe::__private::CallOrder,));
    quote! {
        #attrs
        #vis struct #service_type #generics #where_clause {
            implementation: __Implementation,
            #order
            types: ::core::marker::PhantomData<fn() -> (#(#params,)*)>,
        }
    }
}

pub(super) fn impls(service: &Service, names: &Names) -> TokenStream {
    let Names { service: service_type, request, response, .. } = names;
    let generics = names.with_implementation(service);
    let (impl_generics, arguments, where_clause) = generics.split_for_impl();
    let (_, types, _) = names.generics.split_for_impl();
    let dispatch = service.methods().map(|method| match method.ordered {
        true => ticket_arm(service, method),
        false => dispatch_arm(service, names, method),
    });
    let in_order = service.is_ordered().then(|| in_order(service, names));
    let respond = service.methods().map(|method| respond_arm(service, names, method));
    let never =
        (!service.params().is_empty()).then(|| quote!(#request::__Types(_, __never) => match __never {},));
    let info = info(service);
    let version = service.versions.newest;
    let oneway = service.is_oneway().then(|| {
        quote! {
            #[automatically_derived]
            impl #impl_generics ::panpipe::OnewayService for #service_type #arguments #where_clause {}
        }
    });
    quote! {
        #oneway

        #[automatically_derived]
        impl #impl_generics ::panpipe::__private::ServiceImpl for #service_type #arguments #where_clause {
            type Req = #request #types;
            type Resp = #response #types;

            const VERSION: u32 = #version;

            fn info() -> ::panpipe::ServiceInfo {
                #info
            }

            fn dispatch(
                self: &::std::sync::Arc<Self>,
                __call: ::panpipe::__private::IncomingCall<'_>,
            ) -> ::panpipe::__private::Dispatched {
                match __call.method() {
                    #(#dispatch)*
                    _ => __call.unknown_method(),
                }
            }

            #in_order

            async fn respond(self: ::std::sync::Arc<Self>, __request: Self::Req) -> Self::Resp {
                match __request {
                    #(#respond)*
                    #never
                }
            }
        }
    }
}

/// The field of the service type that holds the order of its calls, if it has one.
pub(super) fn new_order(service: &Service) -> Option<TokenStream> {
    service.is_ordered().then(|| quote!(order: ::core::default::Default::default(),))
}

/// The functions of a service that has ordered methods.
fn in_order(service: &Service, names: &Names) -> TokenStream {
    let ordered = || service.methods().filter(|method| method.ordered);
    let tickets = ordered().map(|method| {
        let (cfgs, hash) = (method.cfgs(), method.hash);
        quote! {
            #(#cfgs)*
            #hash => ::core::option::Option::Some(self.order.enter(__connection)),
        }
    });
    let dispatch = ordered().map(|method| dispatch_arm(service, names, method));
    quote! {
        fn ticket(
            &self,
            __method: u64,
            __connection: u64,
        ) -> ::core::option::Option<::panpipe::__private::OrderTicket> {
            match __method {
                #(#tickets)*
                _ => ::core::option::Option::None,
            }
        }

        fn dispatch_in_order(
            self: &::std::sync::Arc<Self>,
            __call: ::panpipe::__private::IncomingCall<'_>,
            __ticket: ::panpipe::__private::OrderTicket,
        ) -> ::panpipe::__private::Dispatched {
            match __call.method() {
                #(#dispatch)*
                _ => __call.unknown_method(),
            }
        }
    }
}

/// The arm of a call that gets its ticket here, and has an arm of its own then.
fn ticket_arm(service: &Service, method: &Method) -> TokenStream {
    let (cfgs, hash, name) = (method.cfgs(), method.hash, documented_name(service, method));
    quote! {
        #[doc = #name]
        #(#cfgs)*
        #hash => {
            let __ticket = self.order.enter(__call.connection());
            <Self as ::panpipe::__private::ServiceImpl>::dispatch_in_order(self, __call, __ticket)
        }
    }
}

/// The expression of the service's name and versions.
pub(super) fn info(service: &Service) -> TokenStream {
    let (name, Versions { oldest, newest }, params) =
        (service_name(service), service.versions, service.params());
    let with_oldest = (oldest < newest).then(|| quote!(.with_oldest(#oldest)));
    if params.is_empty() {
        return quote!(::panpipe::ServiceInfo::new(#name, #newest) #with_oldest);
    }
    quote! {
        ::panpipe::ServiceInfo::new(
            ::panpipe::__private::generic_name(#name, &[#(::core::any::type_name::<#params>()),*]),
            #newest,
        )
        #with_oldest
    }
}

/// A call of the implementation's method with these arguments.
fn invoke(
    service: &Service,
    names: &Names,
    method: &Method,
    of: &TokenStream,
    args: &[TokenStream],
) -> TokenStream {
    let (trait_name, ident) = (&service.ident, &method.ident);
    let (_, types, _) = names.generics.split_for_impl();
    // Made where it stays: `.await` of the call itself has copies of the future on the stack.
    quote!({
        let __running = ::core::pin::pin!(
            <__Implementation as #trait_name #types>::#ident(&#of.implementation, #(#args),*)
        );
        __running.await
    })
}

fn dispatch_arm(service: &Service, names: &Names, method: &Method) -> TokenStream {
    let (cfgs, hash, info, args) = (method.cfgs(), method.hash, info_name(method), args_type(names, method));
    let values: Vec<_> = (0..method.args.len())
        .map(|index| {
            let index = syn::Index::from(index);
            quote!(__args.#index.into_inner())
        })
        .collect();
    let invoke = invoke(service, names, method, &quote!(__this), &values);
    let halves = halves(names, method);
    let handler = |future: TokenStream| match method.ordered {
        true => quote!(move |__args: #args| ::panpipe::__private::Ordered::new(__ticket, #future)),
        false => quote!(move |__args: #args| #future),
    };
    let body = match &method.output {
        _ if method.oneway => {
            let handler = handler(quote!(async move { #invoke; }));
            quote!(__call.oneway(&#info, #handler))
        }
        Output::Plain(whole) => {
            let (ok, err) = (wired(names, method, whole), wired_as(&halves.err_shape, &halves.err));
            let handler = handler(quote!(async move {
                ::core::result::Result::Ok::<#ok, #err>(::panpipe::__private::Wired::new(#invoke))
            }));
            quote!(__call.unary(&#info, #handler))
        }
        Output::Result { .. } | Output::Alias { .. } => {
            let (ok, err) =
                (wired_as(&halves.ok_shape, &halves.ok), wired_as(&halves.err_shape, &halves.err));
            let handler = handler(quote!(async move {
                match ::panpipe::__private::ResultParts::into_result(#invoke) {
                    ::core::result::Result::Ok(__value) => {
                        ::core::result::Result::Ok::<#ok, #err>(::panpipe::__private::Wired::new(__value))
                    }
                    ::core::result::Result::Err(__error) => {
                        ::core::result::Result::Err(::panpipe::__private::Wired::new(__error))
                    }
                }
            }));
            quote!(__call.unary(&#info, #handler))
        }
    };
    let name = documented_name(service, method);
    let guard = method.since.map(|since| quote!(if __call.speaks(#since)));
    quote! {
        #[doc = #name]
        #(#cfgs)*
        #hash #guard => {
            let __this = ::std::sync::Arc::clone(self);
            #body
        }
    }
}

fn respond_arm(service: &Service, names: &Names, method: &Method) -> TokenStream {
    let Names { request, response, .. } = names;
    let (cfgs, variant) = (method.cfgs(), &method.variant);
    let fields = method.args.iter().map(|arg| &arg.ident);
    let bindings: Vec<_> = (0..method.args.len()).map(|index| format_ident!("__arg{index}")).collect();
    let args: Vec<_> = bindings.iter().map(|binding| quote!(#binding)).collect();
    let invoke = invoke(service, names, method, &quote!(self), &args);
    let value = if method.oneway {
        quote!({ #invoke; #response::#variant })
    } else {
        quote!(#response::#variant(#invoke))
    };
    quote! {
        #(#cfgs)*
        #request::#variant { #(#fields: #bindings),* } => #value,
    }
}
