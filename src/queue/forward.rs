//! The faces of [`Blocking`](super::blocking::Blocking): each kind of queue is one under a name of its own.

/// Defines a queue of elements `$item` over a core, with all that does not depend on the kind.
macro_rules! forward {
    ($(#[$doc:meta])* pub struct $name:ident<T>: Queue<$item:ty> over $core:ty;) => {
        $(#[$doc])*
        pub struct $name<T: Send>(super::blocking::Blocking<$core>);

        impl<T: Send> $name<T> {
            /// Adds `value`, if there is room.
            ///
            /// # Errors
            ///
            /// The value back, when the queue is full or closed.
            #[inline]
            pub fn try_enqueue(&self, value: $item) -> Result<(), super::PushError<$item>> {
                self.0.try_enqueue(value)
            }

            /// Takes an element, if one may leave.
            ///
            /// # Errors
            ///
            /// [`PopError`](super::PopError) says whether it is worth coming back.
            #[inline]
            pub fn try_dequeue(&self) -> Result<$item, super::PopError> {
                self.0.try_dequeue()
            }

            /// How many calls that add wait for room, or may come to, and would still get in after `close(false)`; under concurrent
            /// use, how many did a moment ago.
            pub fn num_pending(&self) -> usize {
                self.0.num_pending()
            }
        }

        impl<T: Send + 'static> $name<T> {
            /// The queue of this kind that this process knows by `name`, whatever its capacity. See
            /// [`attach`](super::attach).
            ///
            /// # Errors
            ///
            /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if there is no queue of that name, or one of another kind
            /// or other elements.
            pub fn attach(name: &str) -> crate::error::Result<std::sync::Arc<Self>> {
                super::registry::attach(name)
            }
        }

        impl<T: Send> super::Queue<$item> for $name<T> {
            #[inline]
            fn enqueue(&self, value: $item) -> crate::error::Result<()> {
                self.0.enqueue(value)
            }

            fn enqueue_many(&self, values: Vec<$item>) -> crate::error::Result<()> {
                self.0.enqueue_many(values)
            }

            #[inline]
            fn dequeue(&self) -> crate::error::Result<$item> {
                self.0.dequeue()
            }

            fn dequeue_within(&self, patience: std::time::Duration) -> crate::error::Result<$item> {
                self.0.dequeue_within(patience)
            }

            fn dequeue_many(&self, n: usize) -> crate::error::Result<Vec<$item>> {
                self.0.dequeue_many(n)
            }

            fn dequeue_up_to(&self, n: usize) -> crate::error::Result<Vec<$item>> {
                self.0.dequeue_up_to(n)
            }

            fn close(&self, cancel_pending: bool) {
                self.0.close(cancel_pending);
            }

            fn cancel(&self) {
                self.0.cancel();
            }

            fn is_closed(&self) -> bool {
                self.0.is_closed()
            }

            fn size(&self) -> usize {
                self.0.size()
            }

            fn capacity(&self) -> Option<usize> {
                self.0.capacity()
            }
        }

        impl<T: Send> std::fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("size", &self.0.size())
                    .field("capacity", &self.0.capacity())
                    .field("is_closed", &self.0.is_closed())
                    .finish_non_exhaustive()
            }
        }
    };
}

pub(super) use forward;
