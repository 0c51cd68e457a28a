//! Compiles the `.proto` files into three things: message types (prost), the tables that describe them
//! (`MessageTable`), and the code that writes each message as JSON. All of it stays in the build directory.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use heck::{ToSnakeCase, ToUpperCamelCase};
use prost_reflect::prost_types::FileDescriptorSet;
use prost_reflect::{
    Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value,
};

const ROOT: &str = "proto";

const FILES: &[&str] = &[
    "mesos/v1/mesos.proto",
    "mesos/v1/agent/agent.proto",
    "mesos/v1/allocator/allocator.proto",
    "mesos/v1/executor/executor.proto",
    "mesos/v1/maintenance/maintenance.proto",
    "mesos/v1/master/master.proto",
    "mesos/v1/quota/quota.proto",
    "mesos/v1/resource_provider/resource_provider.proto",
    "mesos/v1/scheduler/scheduler.proto",
];

/// Their `Debug` is written by hand and hides the value.
const SECRETS: &[&str] = &[".mesos.v1.Credential", ".mesos.v1.Secret.Value"];

/// What prost leaves out of a map when it is zero, see `wire.rs`.
const QUANTITY: &str = "mesos.v1.Value.Scalar";

/// An optional message that is larger is kept behind a pointer.
const INLINE_BYTES_MAX: usize = 192;

/// The scanner keeps the fields it has seen in a `u128`.
const FIELDS_PER_MESSAGE_MAX: usize = 128;

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    println!("cargo::rerun-if-changed={ROOT}");
    let out = std::env::var("OUT_DIR")?;
    let out = Path::new(&out);
    let compiled = protox::compile(FILES, [ROOT])?;
    let pool = DescriptorPool::from_file_descriptor_set(compiled.clone())?;
    std::fs::write(out.join("descriptors.bin"), pool.encode_to_vec())?;

    let mut config = prost_build::Config::new();
    config
        .bytes(["."])
        .btree_map(["."])
        .compile_well_known_types()
        .skip_debug(SECRETS)
        .include_file("types.rs")
        .out_dir(out);
    let mut sizes = HashMap::new();
    for descriptor in pool.all_messages() {
        size_of(&descriptor, &mut sizes, &mut |path| {
            config.boxed(path);
        });
    }
    config.compile_fds(without_deprecation(compiled))?;

    std::fs::write(out.join("tables.rs"), Generator::new(&pool).run()?)?;
    Ok(())
}

/// A deprecated field is still on the wire, and whoever serves the API has to read and set it.
fn without_deprecation(mut files: FileDescriptorSet) -> FileDescriptorSet {
    use prost_reflect::prost_types::{DescriptorProto, EnumDescriptorProto};
    fn enumeration(of: &mut EnumDescriptorProto) {
        for value in &mut of.value {
            value.options = None;
        }
    }
    fn message(of: &mut DescriptorProto) {
        for field in &mut of.field {
            if let Some(options) = &mut field.options {
                options.deprecated = None;
            }
        }
        of.enum_type.iter_mut().for_each(enumeration);
        of.nested_type.iter_mut().for_each(message);
    }
    for file in &mut files.file {
        file.enum_type.iter_mut().for_each(enumeration);
        file.message_type.iter_mut().for_each(message);
    }
    files
}

/// About the bytes that a message takes by itself. Names the optional fields that are better kept behind a pointer:
/// one operation of an offer would be 7 KiB else, and one resource more than 1 KiB, most of it never set.
fn size_of(
    descriptor: &MessageDescriptor,
    sizes: &mut HashMap<String, usize>,
    boxed: &mut dyn FnMut(String),
) -> usize {
    if let Some(size) = sizes.get(descriptor.full_name()) {
        return *size;
    }
    // A message inside itself is boxed by prost.
    sizes.insert(descriptor.full_name().to_owned(), 8);
    let mut size = 0;
    for field in descriptor.fields() {
        size += match field.kind() {
            _ if field.is_list() || field.is_map() => 24,
            Kind::Message(inner) => {
                let inner_size = size_of(&inner, sizes, boxed);
                let may_box =
                    field.cardinality() == Cardinality::Optional && field.containing_oneof().is_none();
                if may_box && inner_size > INLINE_BYTES_MAX && inner.full_name() != descriptor.full_name() {
                    boxed(format!(".{}", field.full_name()));
                    8
                } else {
                    inner_size
                }
            }
            Kind::String => 24,
            Kind::Bytes => 32,
            _ if field.cardinality() == Cardinality::Required => 8,
            Kind::Double | Kind::Int64 | Kind::Uint64 => 16,
            _ => 8,
        };
    }
    sizes.insert(descriptor.full_name().to_owned(), size);
    size
}

struct Generator {
    messages: Vec<MessageDescriptor>,
    enums: Vec<EnumDescriptor>,
    message_ids: HashMap<String, usize>,
    enum_ids: HashMap<String, usize>,
    code: String,
}

impl Generator {
    fn new(pool: &DescriptorPool) -> Self {
        let messages: Vec<_> = pool.all_messages().collect();
        let enums: Vec<_> = pool.all_enums().collect();
        let message_ids = messages.iter().enumerate().map(|(id, m)| (m.full_name().to_owned(), id)).collect();
        let enum_ids = enums.iter().enumerate().map(|(id, e)| (e.full_name().to_owned(), id)).collect();
        Self { messages, enums, message_ids, enum_ids, code: String::new() }
    }

    fn run(mut self) -> Result<String, Failure> {
        for (id, descriptor) in self.enums.clone().iter().enumerate() {
            self.enumeration(id, descriptor)?;
        }
        for (id, descriptor) in self.messages.clone().iter().enumerate() {
            self.table(id, descriptor)?;
            if !descriptor.is_map_entry() {
                self.implementation(id, descriptor)?;
            }
        }
        writeln!(self.code, "pub(crate) static MESSAGES: &[&MessageTable] = &[")?;
        for (id, descriptor) in self.messages.iter().enumerate() {
            if !descriptor.is_map_entry() {
                writeln!(self.code, "&MESSAGE_{id},")?;
            }
        }
        writeln!(self.code, "];")?;
        let all: Vec<_> = (0..self.enums.len()).map(|id| format!("&ENUM_{id}")).collect();
        writeln!(self.code, "pub(crate) static ENUMS: &[&EnumTable] = &[{}];", all.join(", "))?;
        Ok(self.code)
    }

    fn enumeration(&mut self, id: usize, descriptor: &EnumDescriptor) -> Result<(), Failure> {
        write!(
            self.code,
            "static ENUM_{id}: EnumTable = EnumTable {{ name: {:?}, values: &[",
            descriptor.full_name()
        )?;
        let mut values: Vec<_> = descriptor.values().collect();
        values.sort_by_key(|value| value.number());
        for value in values {
            write!(self.code, "({}, {:?}), ", value.number(), value.name())?;
        }
        writeln!(self.code, "] }};")?;
        Ok(())
    }

    fn table(&mut self, id: usize, descriptor: &MessageDescriptor) -> Result<(), Failure> {
        // By number, so that it can be searched.
        let mut fields: Vec<_> = descriptor.fields().collect();
        fields.sort_by_key(FieldDescriptor::number);
        if fields.len() > FIELDS_PER_MESSAGE_MAX {
            return Err(
                format!("{} has more than {FIELDS_PER_MESSAGE_MAX} fields", descriptor.full_name()).into()
            );
        }
        let size = match descriptor.is_map_entry() {
            true => "64".to_owned(),
            false => format!(
                "::core::mem::size_of::<{}>()",
                rust_type(descriptor.full_name(), descriptor.package_name())
            ),
        };
        writeln!(
            self.code,
            "static MESSAGE_{id}: MessageTable = MessageTable {{ name: {:?}, size: {size}, fields: &[",
            descriptor.full_name()
        )?;
        for field in &fields {
            let label = match (field.is_map(), field.cardinality()) {
                (true, _) => "Map",
                (false, Cardinality::Required) => "Required",
                (false, Cardinality::Optional) => "Optional",
                (false, Cardinality::Repeated) => "Repeated",
            };
            let kind = match field.kind() {
                Kind::Double => "Double".to_owned(),
                Kind::Int32 => "Int32".to_owned(),
                Kind::Int64 => "Int64".to_owned(),
                Kind::Uint32 => "Uint32".to_owned(),
                Kind::Uint64 => "Uint64".to_owned(),
                Kind::Bool => "Bool".to_owned(),
                Kind::String => "String".to_owned(),
                Kind::Bytes => "Bytes".to_owned(),
                Kind::Message(of) => format!("Message(&MESSAGE_{})", self.message_ids[of.full_name()]),
                Kind::Enum(of) => format!("Enum(&ENUM_{})", self.enum_ids[of.full_name()]),
                other => return Err(format!("{}: {other:?} is not provided for", field.full_name()).into()),
            };
            writeln!(
                self.code,
                "FieldTable {{ number: {}, name: {:?}, label: Label::{label}, kind: Kind::{kind} }},",
                field.number(),
                field.name()
            )?;
        }
        let mut by_name: Vec<usize> = (0..fields.len()).collect();
        by_name.sort_by_key(|&index| fields[index].name().to_owned());
        writeln!(self.code, "], by_name: &{by_name:?} }};")?;
        Ok(())
    }

    fn implementation(&mut self, id: usize, descriptor: &MessageDescriptor) -> Result<(), Failure> {
        let path = rust_type(descriptor.full_name(), descriptor.package_name());
        writeln!(
            self.code,
            "impl ApiMessage for {path} {{ fn table() -> &'static MessageTable {{ &MESSAGE_{id} }} }}"
        )?;
        let out = if descriptor.fields().len() == 0 { "_" } else { "out" };
        writeln!(self.code, "impl WriteFields for {path} {{ fn write_fields(&self, {out}: &mut Vec<u8>) {{")?;
        // In the order of declaration; a oneof where its first member stands.
        for field in descriptor.fields() {
            match field.containing_oneof() {
                None => self.write_field(&field)?,
                Some(oneof) if oneof.fields().next().as_ref() == Some(&field) => {
                    let member = snake(oneof.name());
                    let module = format!("{}::{}", module_of(descriptor), camel(oneof.name()));
                    writeln!(self.code, "match &self.{member} {{ None => {{}}")?;
                    for field in oneof.fields() {
                        let variant = camel(field.name());
                        let key = key(&field);
                        let writing = match field.kind() {
                            Kind::Enum(of) => format!("write::required_enum(out, {key}, *v, {})", names(&of)),
                            _ => format!("write::required(out, {key}, v)"),
                        };
                        writeln!(self.code, "Some({module}::{variant}(v)) => {writing},")?;
                    }
                    writeln!(self.code, "}}")?;
                }
                Some(_) => {}
            }
        }
        writeln!(self.code, "}} }}")?;
        self.quantities(&path, descriptor)
    }

    fn quantities(&mut self, path: &str, descriptor: &MessageDescriptor) -> Result<(), Failure> {
        let mut terms = Vec::new();
        for field in descriptor.fields() {
            let Kind::Message(inner) = field.kind() else { continue };
            let member = format!("self.{}", snake(field.name()));
            let value = if field.is_map() { inner.map_entry_value_field().kind() } else { field.kind() };
            let Kind::Message(value) = value else { continue };
            if field.is_map() && value.full_name() == QUANTITY {
                terms.push(format!("{member}.values().any(|quantity| quantity.value == 0.0)"));
            } else if !has_quantities(&value, &mut Vec::new()) {
                continue;
            } else if field.containing_oneof().is_some() {
                return Err(
                    format!("{}: quantities in a choice are not provided for", field.full_name()).into()
                );
            } else {
                terms.push(match (field.is_map(), field.cardinality()) {
                    (true, _) => format!("{member}.values().any(Quantities::has_zero_quantity)"),
                    (false, Cardinality::Required) => format!("{member}.has_zero_quantity()"),
                    (false, Cardinality::Repeated) => {
                        format!("{member}.iter().any(Quantities::has_zero_quantity)")
                    }
                    (false, Cardinality::Optional) => {
                        format!("{member}.as_ref().is_some_and(|inner| inner.has_zero_quantity())")
                    }
                });
            }
        }
        let body = if terms.is_empty() { "false".to_owned() } else { terms.join(" || ") };
        writeln!(
            self.code,
            "impl Quantities for {path} {{ fn has_zero_quantity(&self) -> bool {{ {body} }} }}"
        )?;
        Ok(())
    }

    fn write_field(&mut self, field: &FieldDescriptor) -> Result<(), Failure> {
        let key = key(field);
        let member = format!("self.{}", snake(field.name()));
        let default = field.field_descriptor_proto().default_value.is_some() && !is_deprecated(field);
        let presence = field.supports_presence() || field.is_list() || field.is_map();
        let call = match (field.kind(), field.cardinality()) {
            // Of proto3: not written when it has its zero.
            _ if !presence => format!("implicit(out, {key}, &{member})"),
            (Kind::Message(entry), _) if field.is_map() => match entry.map_entry_value_field().kind() {
                Kind::Message(_) | Kind::String => format!("map(out, {key}, &{member})"),
                other => {
                    return Err(
                        format!("{}: a map of {other:?} is not provided for", field.full_name()).into()
                    );
                }
            },
            (Kind::Enum(of), Cardinality::Required) => {
                format!("required_enum(out, {key}, {member}, {})", names(&of))
            }
            (Kind::Enum(of), Cardinality::Repeated) => {
                format!("repeated_enum(out, {key}, &{member}, {})", names(&of))
            }
            (Kind::Enum(of), Cardinality::Optional) => {
                let default = match field.default_value() {
                    Value::EnumNumber(number) if default => {
                        format!("{:?}", of.get_value(number).map(|value| value.name().to_owned()))
                    }
                    _ => "None".to_owned(),
                };
                format!("optional_enum(out, {key}, {member}, {default}, {})", names(&of))
            }
            (_, Cardinality::Required) => format!("required(out, {key}, &{member})"),
            (_, Cardinality::Repeated) => format!("repeated(out, {key}, &{member})"),
            (Kind::Message(_), Cardinality::Optional) => format!("optional(out, {key}, {member}.as_ref())"),
            (_, Cardinality::Optional) if default => match field.default_value() {
                Value::String(text) => format!("or_default(out, {key}, {member}.as_deref(), {text:?})"),
                Value::Bool(value) => format!("or_default(out, {key}, {member}.as_ref(), &{value})"),
                Value::F64(value) => format!("or_default(out, {key}, {member}.as_ref(), &{value:?})"),
                Value::I32(value) => format!("or_default(out, {key}, {member}.as_ref(), &{value})"),
                Value::U32(value) => format!("or_default(out, {key}, {member}.as_ref(), &{value})"),
                other => {
                    return Err(
                        format!("{}: the default {other:?} is not provided for", field.full_name()).into()
                    );
                }
            },
            (_, Cardinality::Optional) => format!("optional(out, {key}, {member}.as_ref())"),
        };
        writeln!(self.code, "write::{call};")?;
        Ok(())
    }
}

/// Whether a map of quantities lies somewhere in it.
fn has_quantities(descriptor: &MessageDescriptor, seen: &mut Vec<String>) -> bool {
    if seen.iter().any(|name| name == descriptor.full_name()) {
        return false;
    }
    seen.push(descriptor.full_name().to_owned());
    descriptor.fields().any(|field| match field.kind() {
        Kind::Message(inner) => {
            (descriptor.is_map_entry() && inner.full_name() == QUANTITY) || has_quantities(&inner, seen)
        }
        _ => false,
    })
}

fn is_deprecated(field: &FieldDescriptor) -> bool {
    field.field_descriptor_proto().options.as_ref().is_some_and(|options| options.deprecated())
}

/// The name with quotes and colon, as it stands in the text.
fn key(field: &FieldDescriptor) -> String {
    format!("{:?}", format!("\"{}\":", field.name()))
}

/// An expression that turns a number into the name of its value.
fn names(of: &EnumDescriptor) -> String {
    let path = rust_type(of.full_name(), of.package_name());
    format!("|number| {path}::try_from(number).ok().map(|value| value.as_str_name())")
}

/// Where prost puts a type: packages and enclosing messages are modules.
fn rust_type(full_name: &str, package: &str) -> String {
    let mut parts: Vec<&str> = full_name.split('.').collect();
    let name = parts.pop().unwrap_or_default();
    debug_assert!(full_name.starts_with(package));
    let modules: Vec<String> = parts.into_iter().map(snake).collect();
    format!("crate::types::{}::{}", modules.join("::"), camel(name))
}

/// The module of the types that are declared inside a message.
fn module_of(descriptor: &MessageDescriptor) -> String {
    let modules: Vec<String> = descriptor.full_name().split('.').map(snake).collect();
    format!("crate::types::{}", modules.join("::"))
}

fn camel(name: &str) -> String {
    name.to_upper_camel_case()
}

fn snake(name: &str) -> String {
    match name.to_snake_case() {
        name if matches!(
            name.as_str(),
            "type" | "in" | "ref" | "mod" | "use" | "box" | "final" | "override"
        ) =>
        {
            format!("r#{name}")
        }
        name => name,
    }
}
