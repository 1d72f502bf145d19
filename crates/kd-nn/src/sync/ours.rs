//! What holds layers, and layers that have nothing to bring up to date.

use burn::module::{Module, Param, RunningState};
use burn::tensor::{Bool, Int, Tensor};

use super::{ShapeCut, SyncShape, first_name};
use crate::{BatchNorm, GroupNorm, LayerNorm, Linear, conv, pool};

/// Types whose numbers, if they have any, no cut changes.
macro_rules! unchanged {
    ($($type:ty),* $(,)?) => {
        $(impl SyncShape for $type {
            fn sync_shape(&mut self, _: &ShapeCut<'_>) {}
        })*
    };
}
pub(super) use unchanged;

unchanged!(BatchNorm, LayerNorm, Linear, conv::Conv1d, conv::Conv2d);
unchanged!(pool::AvgPool2d, pool::MaxPool2d);
unchanged!(bool, u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, f32, f64, String, ());

impl SyncShape for GroupNorm {
    fn sync_shape(&mut self, cut: &ShapeCut<'_>) {
        if let Some(kept) = cut.kept("gamma", 0) {
            self.num_groups = kept.parts(self.num_groups);
        }
    }
}

impl<const D: usize> SyncShape for Param<Tensor<D>> {
    fn sync_shape(&mut self, _: &ShapeCut<'_>) {}
}

impl<const D: usize> SyncShape for Param<Tensor<D, Int>> {
    fn sync_shape(&mut self, _: &ShapeCut<'_>) {}
}

impl<const D: usize> SyncShape for Param<Tensor<D, Bool>> {
    fn sync_shape(&mut self, _: &ShapeCut<'_>) {}
}

impl<const D: usize> SyncShape for RunningState<Tensor<D>> {
    fn sync_shape(&mut self, _: &ShapeCut<'_>) {}
}

impl<T> SyncShape for std::marker::PhantomData<T> {
    fn sync_shape(&mut self, _: &ShapeCut<'_>) {}
}

impl<T: SyncShape> SyncShape for Option<T> {
    fn sync_shape(&mut self, cut: &ShapeCut<'_>) {
        if let Some(module) = self {
            module.sync_shape(cut);
        }
    }

    fn remove_element(&mut self, path: &str) -> bool {
        self.as_mut().is_some_and(|module| module.remove_element(path))
    }
}

impl<T: SyncShape> SyncShape for Box<T> {
    fn sync_shape(&mut self, cut: &ShapeCut<'_>) {
        (**self).sync_shape(cut);
    }

    fn remove_element(&mut self, path: &str) -> bool {
        (**self).remove_element(path)
    }
}

impl<T: SyncShape> SyncShape for Vec<T> {
    fn sync_shape(&mut self, cut: &ShapeCut<'_>) {
        each(self, cut);
    }

    fn remove_element(&mut self, path: &str) -> bool {
        match first_name(path) {
            (index, "") => match index.parse() {
                Ok(index) if index < self.len() => {
                    self.remove(index);
                    true
                }
                _ => false,
            },
            _ => within(self, path),
        }
    }
}

impl<T: SyncShape, const N: usize> SyncShape for [T; N] {
    fn sync_shape(&mut self, cut: &ShapeCut<'_>) {
        each(self, cut);
    }

    fn remove_element(&mut self, path: &str) -> bool {
        within(self, path)
    }
}

/// Takes an element out of something that one of the modules has.
fn within<T: SyncShape>(modules: &mut [T], path: &str) -> bool {
    let (index, rest) = first_name(path);
    let module = index.parse().ok().and_then(|index: usize| modules.get_mut(index));
    module.is_some_and(|module| module.remove_element(rest))
}

fn each<T: SyncShape>(modules: &mut [T], cut: &ShapeCut<'_>) {
    for (index, module) in modules.iter_mut().enumerate() {
        module.sync_shape(&cut.at(&index.to_string()));
    }
}

macro_rules! tuples {
    ($($($name:ident $index:tt),+;)*) => {
        $(impl<$($name: SyncShape + Module),+> SyncShape for ($($name,)+) {
            fn sync_shape(&mut self, cut: &ShapeCut<'_>) {
                $(self.$index.sync_shape(&cut.at(stringify!($index)));)+
            }

            fn remove_element(&mut self, path: &str) -> bool {
                let (name, rest) = first_name(path);
                match name {
                    $(stringify!($index) => self.$index.remove_element(rest),)+
                    _ => false,
                }
            }
        })*
    };
}

tuples! {
    A 0, B 1;
    A 0, B 1, C 2;
    A 0, B 1, C 2, D 3;
}
