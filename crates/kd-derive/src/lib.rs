//! `#[derive(SyncShape)]` for modules with numbers of their own beside their layers.
//!
//! The trait, its implementations for Burn's layers and its documentation are in `kd-nn`, which exports this macro.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Attribute, Data, DeriveInput, Error, Expr, Fields, Index, Member, Result, parse_macro_input};

/// Implements `kd_nn::SyncShape`: every field in turn, then the numbers that have a rule.
///
/// - A field without an attribute is asked itself: layers, `Vec`, `Option`, arrays, parameters, numbers.
/// - `Vec`s of such fields can lose elements: their names lead `remove_element` to them.
/// - `#[sync(EXPRESSION)]` sets a field to the expression's value, after all fields without one. In it `self` is the
///   module whose weights are cut already, and `cut` the [`ShapeCut`] at the module.
/// - `#[sync(skip)]` leaves a field of any type alone.
///
/// Enums ask the fields of the variant that they are; rules stand on structs only.
///
/// [`ShapeCut`]: https://docs.rs/kd-nn/latest/kd_nn/struct.ShapeCut.html
#[proc_macro_derive(SyncShape, attributes(sync))]
pub fn derive_sync_shape(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let (body, within) = match &input.data {
        Data::Struct(data) => structure(&data.fields)?,
        Data::Enum(data) => {
            let arms = data.variants.iter().map(|variant| arm(&variant.ident, &variant.fields));
            let (synced, removed): (Vec<_>, Vec<_>) = arms.collect::<Result<Vec<_>>>()?.into_iter().unzip();
            (quote! { match self { #(#synced)* } }, quote! { match self { #(#removed)* _ => false } })
        }
        Data::Union(_) => {
            return Err(Error::new_spanned(&input.ident, "expected a struct or an enum, found a union"));
        }
    };
    let name = &input.ident;
    let (impl_generics, type_generics, bounds) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics ::kd_nn::SyncShape for #name #type_generics #bounds {
            fn sync_shape(&mut self, cut: &::kd_nn::ShapeCut<'_>) {
                // A module without fields has nothing to ask.
                let _ = cut;
                #body
            }

            fn remove_element(&mut self, path: &str) -> bool {
                let (name, rest) = ::kd_nn::first_name(path);
                let _ = rest;
                #within
            }
        }
    })
}

/// What to do with a field.
enum Rule {
    Ask,
    Skip,
    Set(Expr),
}

/// What brings a struct's numbers up to date, and what takes an element out of one of its lists.
fn structure(fields: &Fields) -> Result<(TokenStream, TokenStream)> {
    let (mut asked, mut set, mut within) = (Vec::new(), Vec::new(), Vec::new());
    for (index, field) in fields.iter().enumerate() {
        let member = match &field.ident {
            Some(name) => Member::Named(name.clone()),
            None => Member::Unnamed(Index::from(index)),
        };
        match rule(&field.attrs)? {
            Rule::Ask => {
                let path = path(field.ident.as_ref(), index);
                asked.push(quote! { ::kd_nn::SyncShape::sync_shape(&mut self.#member, &cut.at(#path)); });
                within.push(quote! { #path => ::kd_nn::SyncShape::remove_element(&mut self.#member, rest), });
            }
            Rule::Skip => {}
            Rule::Set(value) => set.push(quote! { self.#member = #value; }),
        }
    }
    Ok((quote! { #(#asked)* #(#set)* }, quote! { match name { #(#within)* _ => false } }))
}

/// The same of an enum's variant, as the arms of two matches.
fn arm(variant: &syn::Ident, fields: &Fields) -> Result<(TokenStream, TokenStream)> {
    let (mut patterns, mut asked, mut within) = (Vec::new(), Vec::new(), Vec::new());
    // Burn's path of a variant's value is the variant's name.
    let name = variant.to_string();
    for (index, field) in fields.iter().enumerate() {
        let bound = format_ident!("field_{index}");
        let member = match &field.ident {
            Some(name) => Member::Named(name.clone()),
            None => Member::Unnamed(Index::from(index)),
        };
        match rule(&field.attrs)? {
            Rule::Ask => {
                patterns.push(quote! { #member: #bound });
                asked.push(quote! { ::kd_nn::SyncShape::sync_shape(#bound, &cut.at(#name)); });
                within.push(quote! { || ::kd_nn::SyncShape::remove_element(#bound, rest) });
            }
            Rule::Skip => {}
            Rule::Set(value) => {
                return Err(Error::new_spanned(value, "a rule is for a struct's field, not a variant's"));
            }
        }
    }
    let synced = quote! { Self::#variant { #(#patterns,)* .. } => { #(#asked)* } };
    let removed = quote! { Self::#variant { #(#patterns,)* .. } if name == #name => false #(#within)*, };
    Ok((synced, removed))
}

fn path(name: Option<&syn::Ident>, index: usize) -> String {
    name.map_or_else(|| index.to_string(), |name| name.to_string().trim_start_matches("r#").to_owned())
}

fn rule(attributes: &[Attribute]) -> Result<Rule> {
    let mut rule = Rule::Ask;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("sync")) {
        if !matches!(rule, Rule::Ask) {
            return Err(Error::new_spanned(attribute, "a field has one rule: `skip` or an expression"));
        }
        let value: Expr = attribute.parse_args()?;
        let skip = matches!(&value, Expr::Path(path) if path.path.is_ident("skip"));
        rule = if skip { Rule::Skip } else { Rule::Set(value) };
    }
    Ok(rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    fn message(input: &DeriveInput) -> String {
        expand(input).map(|tokens| tokens.to_string()).unwrap_or_else(|error| format!("error: {error}"))
    }

    #[test]
    fn fields_are_asked_and_then_numbers_set() {
        let tokens = message(&parse_quote! {
            struct Attention {
                #[sync(self.query.heads())]
                heads: usize,
                query: Linear,
                #[sync(skip)]
                foreign: Foreign,
            }
        });
        let asked = tokens.find("& mut self . query , & cut . at (\"query\")");
        let set = tokens.find("self . heads = self . query . heads ()");
        assert!(asked.is_some() && asked < set, "{tokens}");
        assert!(!tokens.contains("foreign"), "{tokens}");
    }

    #[test]
    fn what_cannot_be_derived_says_so() {
        let two = message(&parse_quote! { struct S { #[sync(skip)] #[sync(1)] n: usize } });
        assert_eq!(two, "error: a field has one rule: `skip` or an expression");
        let variant = message(&parse_quote! { enum E { A(#[sync(1)] usize) } });
        assert_eq!(variant, "error: a rule is for a struct's field, not a variant's");
        let union = message(&parse_quote! { union U { a: u8 } });
        assert_eq!(union, "error: expected a struct or an enum, found a union");
    }
}
