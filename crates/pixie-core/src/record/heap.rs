//! How much memory records hold beside their own size.

use crate::Text;
use bytes::Bytes;
use std::borrow::Cow;

/// Something that may hold memory on the heap.
pub(crate) trait Heap {
    /// About how many bytes. What is shared with other records is left out where it mostly is
    /// shared, as the process is, and else counted in full.
    fn heap(&self) -> usize;
}

/// Counts what these fields of a struct hold.
macro_rules! heap {
    ($($type:ty { $($field:ident),+ })+) => {
        $(impl $crate::record::heap::Heap for $type {
            fn heap(&self) -> usize {
                0 $(+ $crate::record::heap::Heap::heap(&self.$field))+
            }
        })+
    };
}
pub(crate) use heap;

/// Types that hold nothing.
macro_rules! flat {
    ($($type:ty)+) => {
        $(impl $crate::record::heap::Heap for $type {
            fn heap(&self) -> usize {
                0
            }
        })+
    };
}
pub(crate) use flat;

flat! { u16 u32 }

impl Heap for Bytes {
    fn heap(&self) -> usize {
        self.len()
    }
}

impl Heap for Text {
    fn heap(&self) -> usize {
        self.len()
    }
}

impl Heap for String {
    fn heap(&self) -> usize {
        self.capacity()
    }
}

impl Heap for Cow<'_, str> {
    fn heap(&self) -> usize {
        match self {
            Cow::Borrowed(_) => 0,
            Cow::Owned(text) => text.heap(),
        }
    }
}

impl<T: Heap> Heap for Option<T> {
    fn heap(&self) -> usize {
        self.as_ref().map_or(0, T::heap)
    }
}

impl<T: Heap> Heap for Box<T> {
    fn heap(&self) -> usize {
        size_of::<T>() + (**self).heap()
    }
}

impl<T: Heap> Heap for Vec<T> {
    fn heap(&self) -> usize {
        self.capacity() * size_of::<T>() + self.iter().map(T::heap).sum::<usize>()
    }
}

impl<A: Heap, B: Heap> Heap for (A, B) {
    fn heap(&self) -> usize {
        self.0.heap() + self.1.heap()
    }
}

#[cfg(test)]
mod tests {
    use crate::Record;
    use crate::record::{Custom, Traffic, Value};
    use bytes::Bytes;

    #[test]
    fn a_record_counts_all_that_it_holds() {
        let mut custom = Custom::new(Traffic::default(), "test");
        let empty = Record::from(custom.clone()).memory();
        assert!(empty >= size_of::<Custom>());
        let nested = Value::List(vec![Value::Bytes(Bytes::from(vec![0; 1000]))]);
        custom.request.push(("bytes".into(), nested));
        custom.error = Some("x".repeat(500));
        let full = Record::from(custom).memory();
        let least = empty + 1500 + size_of::<Value>();
        assert!((least..least + 1000).contains(&full), "{full} for at least {least}");
    }
}
