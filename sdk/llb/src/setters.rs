//! Methods for options: one for each field.

/// Gives a struct of options a method for each field, `with_field(value)`, so that fields can be
/// added to it later without breaking who sets some of them.
#[doc(hidden)]
#[macro_export]
macro_rules! setters {
    ($name:ident $(<$life:lifetime>)? { $($setter:ident($field:ident: $value:ty),)* }) => {
        impl $(<$life>)? $name $(<$life>)? {
            $(
                #[doc = concat!("The same with this [`", stringify!($field), "`](#structfield.", stringify!($field), ").")]
                #[must_use]
                pub fn $setter(mut self, $field: $value) -> Self {
                    self.$field = $field.into();
                    self
                }
            )*
        }
    };
}
