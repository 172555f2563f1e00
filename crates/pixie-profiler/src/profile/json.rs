//! JSON as it is written: RFC 8259.

use std::fmt::{self, Display, Write as _};
use std::io;

/// An object whose members are written one after the other.
pub(super) struct Object<'w, W> {
    writer: &'w mut W,
    empty: bool,
}

impl<'w, W: io::Write> Object<'w, W> {
    /// Writes an object with the members that `fill` gives it.
    pub(super) fn write(
        writer: &'w mut W,
        fill: impl FnOnce(&mut Object<'_, W>) -> io::Result<()>,
    ) -> io::Result<()> {
        writer.write_all(b"{")?;
        fill(&mut Object { writer, empty: true })?;
        writer.write_all(b"}")
    }

    /// A member whose value shows itself as JSON: a number, a boolean, [`Quoted`] or [`OrNull`].
    pub(super) fn member(&mut self, name: &str, value: impl Display) -> io::Result<()> {
        self.name(name)?;
        write!(self.writer, "{value}")
    }

    /// A member that is an array of such values.
    pub(super) fn list<T: Display>(
        &mut self,
        name: &str,
        values: impl IntoIterator<Item = T>,
    ) -> io::Result<()> {
        self.name(name)?;
        self.writer.write_all(b"[")?;
        for (index, value) in values.into_iter().enumerate() {
            write!(self.writer, "{}{value}", if index == 0 { "" } else { "," })?;
        }
        self.writer.write_all(b"]")
    }

    /// A member that is an object.
    pub(super) fn object(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut Object<'_, W>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.name(name)?;
        Object::write(self.writer, fill)
    }

    /// A member that is an array of objects, one an item.
    pub(super) fn objects<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut fill: impl FnMut(&mut Object<'_, W>, T) -> io::Result<()>,
    ) -> io::Result<()> {
        self.name(name)?;
        self.writer.write_all(b"[")?;
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.writer.write_all(b",")?;
            }
            Object::write(self.writer, |object| fill(object, item))?;
        }
        self.writer.write_all(b"]")
    }

    fn name(&mut self, name: &str) -> io::Result<()> {
        let comma = if std::mem::take(&mut self.empty) { "" } else { "," };
        write!(self.writer, "{comma}{}:", Quoted(name))
    }
}

/// A string.
pub(super) struct Quoted<T>(pub(super) T);

impl<T: AsRef<str>> Display for Quoted<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_char('"')?;
        for letter in self.0.as_ref().chars() {
            match letter {
                '"' | '\\' => write!(formatter, "\\{letter}")?,
                '\0'..='\x1f' => write!(formatter, "\\u{:04x}", u32::from(letter))?,
                _ => formatter.write_char(letter)?,
            }
        }
        formatter.write_char('"')
    }
}

/// A value, or none.
pub(super) struct OrNull<T>(pub(super) Option<T>);

impl<T: Display> Display for OrNull<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(formatter),
            None => formatter.write_str("null"),
        }
    }
}
