//! Which parts of a type may lack serde's traits, as far as the trait's own text shows it.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::{GenericArgument, Ident, PathArguments, Type};

/// What the text of a type shows of its parts.
pub(crate) struct Parts {
    /// The parts that are checked by themselves, before the whole type.
    pub(crate) all: Vec<Part>,
    /// Where an error about the whole type stands; `None`: the type is known to be complete.
    pub(crate) span: Option<Span>,
}

/// A part of a type that is not known to implement serde's traits.
pub(crate) struct Part {
    /// The way to the part: at each step the number of a type argument, or of a tuple's element.
    pub(crate) steps: Vec<usize>,
    pub(crate) ty: Type,
}

impl Parts {
    /// Names alone decide: a type of the user's with a name of the standard library's is taken
    /// for that one. If it lacks serde's traits, the compiler says so in more words.
    pub(crate) fn of(ty: &Type, params: &[&Ident]) -> Self {
        let mut parts = Parts { all: Vec::new(), span: None };
        parts.collect(ty, params, &mut Vec::new());
        parts
    }

    fn collect(&mut self, ty: &Type, params: &[&Ident], steps: &mut Vec<usize>) {
        let inner: Vec<&Type> = match ty {
            Type::Paren(inner) => return self.collect(&inner.elem, params, steps),
            Type::Group(inner) => return self.collect(&inner.elem, params, steps),
            // The runtime looks into tuples of up to eight.
            Type::Tuple(tuple) if tuple.elems.len() <= 8 => tuple.elems.iter().collect(),
            Type::Array(array) => vec![&array.elem],
            Type::Path(path) if path.qself.is_none() => {
                let Some(last) = path.path.segments.last() else { return };
                let is_param = path.path.get_ident().is_some_and(|ident| params.contains(&ident));
                if is_param || last.arguments.is_none() && is_complete(&last.ident) {
                    return;
                }
                let Some((container, inner)) = container(&last.ident, &last.arguments) else {
                    return self.push(ty, steps, last.ident.span());
                };
                if let Container::Own = container {
                    self.span.get_or_insert(last.ident.span());
                }
                inner
            }
            _ => return self.push(ty, steps, ty.span()),
        };
        for (step, inner) in inner.into_iter().enumerate() {
            steps.push(step);
            self.collect(inner, params, steps);
            steps.pop();
        }
    }

    fn push(&mut self, ty: &Type, steps: &[usize], span: Span) {
        if self.all.is_empty() {
            self.span = Some(span);
        }
        self.all.push(Part { steps: steps.to_vec(), ty: ty.clone() });
    }
}

/// Whether a type of this name has all of serde's traits.
fn is_complete(name: &Ident) -> bool {
    const NAMES: [&str; 18] = [
        "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64",
        "u128", "usize", "str", "String",
    ];
    NAMES.iter().any(|known| name == known)
}

/// Whose a type with parts is.
#[derive(Clone, Copy)]
enum Container {
    /// The standard library's: it has serde's traits if its parts have them.
    Std,
    /// panpipe's; other crates use these names too.
    Own,
}

/// The type arguments of a type that has serde's traits if these have them.
fn container<'a>(name: &Ident, arguments: &'a PathArguments) -> Option<(Container, Vec<&'a Type>)> {
    const CONTAINERS: [(&str, usize, Container); 15] = [
        ("Vec", 1, Container::Std),
        ("Option", 1, Container::Std),
        ("Box", 1, Container::Std),
        ("Result", 2, Container::Std),
        ("VecDeque", 1, Container::Std),
        ("LinkedList", 1, Container::Std),
        ("BinaryHeap", 1, Container::Std),
        ("HashMap", 2, Container::Std),
        ("BTreeMap", 2, Container::Std),
        ("HashSet", 1, Container::Std),
        ("BTreeSet", 1, Container::Std),
        ("Streaming", 1, Container::Own),
        ("Sender", 1, Container::Own),
        ("WatchReceiver", 1, Container::Own),
        ("WatchSender", 1, Container::Own),
    ];
    let (_, count, container) = CONTAINERS.iter().find(|(known, ..)| name == known)?;
    let PathArguments::AngleBracketed(arguments) = arguments else { return None };
    let types: Option<Vec<&Type>> = arguments
        .args
        .iter()
        .map(|argument| match argument {
            // A trait object or a slice is no type of its own: the container is checked.
            GenericArgument::Type(Type::TraitObject(_) | Type::Slice(_)) => None,
            GenericArgument::Type(ty) => Some(ty),
            _ => None,
        })
        .collect();
    types.filter(|types| types.len() == *count).map(|types| (*container, types))
}

#[cfg(test)]
mod tests {
    use quote::ToTokens;
    use syn::parse_quote;

    use super::*;

    fn text(ty: &Type) -> Vec<(String, Vec<usize>)> {
        let param: Ident = parse_quote!(T);
        Parts::of(ty, &[&param])
            .all
            .into_iter()
            .map(|part| (part.ty.to_token_stream().to_string().replace(' ', ""), part.steps))
            .collect()
    }

    #[test]
    fn parts_are_what_the_standard_library_and_the_trait_do_not_vouch_for() {
        assert_eq!(text(&parse_quote!(Vec<(u8, Option<String>, [T; 4])>)), []);
        assert_eq!(text(&parse_quote!(Key)), [("Key".to_owned(), vec![])]);
        assert_eq!(
            text(&parse_quote!(HashMap<my::Id, Vec<(u8, Key)>>)),
            [("my::Id".to_owned(), vec![0]), ("Key".to_owned(), vec![1, 0, 1])]
        );
        // Not looked into: a type with other arguments, or with a name that nobody knows.
        assert_eq!(text(&parse_quote!(HashMap<u8, Key, Hasher>)).len(), 1);
        assert_eq!(text(&parse_quote!(Page<Key>)), [("Page<Key>".to_owned(), vec![])]);
        assert_eq!(text(&parse_quote!(Box<dyn Error>)), [("Box<dynError>".to_owned(), vec![])]);
        assert_eq!(text(&parse_quote!(Vec<Page<T>>)), [("Page<T>".to_owned(), vec![0])]);
    }

    #[test]
    fn only_types_of_the_standard_library_are_taken_for_complete() {
        let is_complete = |ty: Type| Parts::of(&ty, &[]).span.is_none();
        assert!(is_complete(parse_quote!(HashMap<u8, Vec<(String, [bool; 3])>>)));
        assert!(!is_complete(parse_quote!(mpsc::Sender<u8>)));
        assert!(!is_complete(parse_quote!(Key)));
        assert!(!is_complete(parse_quote!(Bytes)));
    }
}
