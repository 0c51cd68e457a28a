//! Messages made at random from their descriptions, and the list of those that the tests go through.

use mesos_proto::DESCRIPTORS;
use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};

/// Calls `$run::<type>("full name", …)` for the messages from which all others can be reached.
#[macro_export]
macro_rules! for_each_message {
    ($run:ident $(, $more:expr)*) => {
        $run::<v1::scheduler::Call>("mesos.v1.scheduler.Call" $(, $more)*);
        $run::<v1::scheduler::Event>("mesos.v1.scheduler.Event" $(, $more)*);
        $run::<v1::scheduler::Response>("mesos.v1.scheduler.Response" $(, $more)*);
        $run::<v1::scheduler::ApiResult>("mesos.v1.scheduler.APIResult" $(, $more)*);
        $run::<v1::executor::Call>("mesos.v1.executor.Call" $(, $more)*);
        $run::<v1::executor::Event>("mesos.v1.executor.Event" $(, $more)*);
        $run::<v1::master::Call>("mesos.v1.master.Call" $(, $more)*);
        $run::<v1::master::Event>("mesos.v1.master.Event" $(, $more)*);
        $run::<v1::master::Response>("mesos.v1.master.Response" $(, $more)*);
        $run::<v1::agent::Call>("mesos.v1.agent.Call" $(, $more)*);
        $run::<v1::agent::Response>("mesos.v1.agent.Response" $(, $more)*);
        $run::<v1::agent::ProcessIo>("mesos.v1.agent.ProcessIO" $(, $more)*);
        $run::<v1::resource_provider::Call>("mesos.v1.resource_provider.Call" $(, $more)*);
        $run::<v1::resource_provider::Event>("mesos.v1.resource_provider.Event" $(, $more)*);
        $run::<v1::ResourceUsage>("mesos.v1.ResourceUsage" $(, $more)*);
        $run::<v1::RateLimits>("mesos.v1.RateLimits" $(, $more)*);
        $run::<v1::Credentials>("mesos.v1.Credentials" $(, $more)*);
        $run::<v1::DeviceWhitelist>("mesos.v1.DeviceWhitelist" $(, $more)*);
        $run::<v1::MachineInfo>("mesos.v1.MachineInfo" $(, $more)*);
        $run::<v1::CsiPluginInfo>("mesos.v1.CSIPluginInfo" $(, $more)*);
    };
}

pub fn described(name: &str) -> MessageDescriptor {
    // Decoding the files takes longer than a message.
    static POOL: std::sync::LazyLock<DescriptorPool> =
        std::sync::LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).unwrap());
    POOL.get_message_by_name(name).unwrap()
}

/// A small generator of numbers; the seed is all that a failure has to tell.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        (self.roll() >> 11) % end
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

pub struct Shape {
    /// Required fields are left out once in so many times; never with 0.
    pub forgetful: u64,
    /// Messages inside each other.
    pub depth: usize,
}

pub fn message(dice: &mut Dice, of: &MessageDescriptor, shape: &Shape, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(of.clone());
    for field in of.fields() {
        let required = field.cardinality() == Cardinality::Required;
        if required && shape.forgetful > 0 && dice.once_in(shape.forgetful) {
            continue;
        }
        let deep = depth >= shape.depth && matches!(field.kind(), Kind::Message(_));
        let keep = if of.fields().len() > 12 { 4 } else { 2 };
        if !required && (deep || !dice.once_in(keep)) {
            continue;
        }
        // Its JSON is a text in the world of proto3.
        if matches!(field.kind(), Kind::Message(of) if of.full_name() == "google.protobuf.Duration") {
            continue;
        }
        let value = if field.is_map() {
            let Kind::Message(entry) = field.kind() else { continue };
            let entries = (0..=dice.below(2)).map(|_| {
                let value = value(dice, &entry.map_entry_value_field(), shape, depth);
                (MapKey::String(text(dice)), value)
            });
            Value::Map(entries.collect())
        } else if field.is_list() {
            Value::List((0..=dice.below(2)).map(|_| value(dice, &field, shape, depth)).collect())
        } else {
            value(dice, &field, shape, depth)
        };
        message.set_field(&field, value);
    }
    message
}

fn value(dice: &mut Dice, field: &FieldDescriptor, shape: &Shape, depth: usize) -> Value {
    match field.kind() {
        Kind::Double => Value::F64(double(dice)),
        Kind::Int32 => Value::I32(integer(dice) as i32),
        Kind::Int64 => Value::I64(integer(dice) as i64),
        Kind::Uint32 => Value::U32(integer(dice) as u32),
        Kind::Uint64 => Value::U64(integer(dice)),
        Kind::Bool => Value::Bool(dice.once_in(2)),
        Kind::String => Value::String(text(dice)),
        Kind::Bytes => Value::Bytes((0..dice.below(9)).map(|_| dice.roll() as u8).collect::<Vec<_>>().into()),
        Kind::Enum(of) => {
            let values: Vec<_> = of.values().map(|value| value.number()).collect();
            Value::EnumNumber(values[dice.below(values.len() as u64) as usize])
        }
        Kind::Message(of) => Value::Message(message(dice, &of, shape, depth + 1)),
        other => panic!("{}: {other:?}", field.full_name()),
    }
}

fn integer(dice: &mut Dice) -> u64 {
    match dice.below(4) {
        0 => dice.below(3),
        1 => u64::MAX - dice.below(3),
        2 => 1 << dice.below(64),
        _ => dice.roll(),
    }
}

fn double(dice: &mut Dice) -> f64 {
    match dice.below(5) {
        0 => dice.below(100) as f64,
        1 => dice.below(100_000) as f64 / 1000.0,
        2 => f64::INFINITY,
        3 => -1e-7 * dice.below(100) as f64,
        _ => Some(f64::from_bits(dice.roll())).filter(|value| !value.is_nan()).unwrap_or(0.5),
    }
}

fn text(dice: &mut Dice) -> String {
    const LETTERS: &[char] = &['a', 'Z', '0', '.', '/', '"', '\\', '\n', '\u{1}', '\u{7f}', 'é', '😀', ' '];
    (0..dice.below(6)).map(|_| LETTERS[dice.below(LETTERS.len() as u64) as usize]).collect()
}
