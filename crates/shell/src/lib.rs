//! The thin shell around a brain: one loop that feeds it, makes its writes
//! durable in groups, and carries out its effects only after.
//!
//! Knows nothing of any brain's meaning. Invariant: effects leave in the order
//! of the steps that made them, each after the writes of its own and of all
//! earlier steps are durable. When a commit fails the loop ends with the error:
//! the owner throws the brain away and loads it anew.
//! Start reading at [`run`].
#![forbid(unsafe_code)]

mod clock;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use model::{Output, Time};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

pub use clock::Clock;

/// A decision maker without I/O, clock or threads.
pub trait Brain {
    type Input;
    type Write;
    type Effect;
    /// An immutable snapshot for reads.
    type View;

    fn step(&mut self, now: Time, input: Self::Input) -> Output<Self::Write, Self::Effect>;
    /// The input that lets timers fire.
    fn tick() -> Self::Input;
    fn next_wakeup(&self) -> Option<Time>;
    /// Does a bounded part of the work that the next snapshot needs; true when it may
    /// be taken. Until then inputs have their turns in between.
    fn prepare_view(&mut self, _now: Time) -> bool {
        true
    }
    fn view(&mut self, now: Time) -> Self::View;
}

/// The world as one brain sees it.
pub trait World<B: Brain> {
    type Error;

    /// Makes the writes durable, all or nothing. Called with at least one.
    fn commit(
        &mut self,
        writes: Vec<B::Write>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static;
    /// Carries out one effect. Must not block: a full queue is the effect's failure.
    fn effect(&mut self, effect: B::Effect);
    /// A newer snapshot, all of it durable.
    fn publish(&mut self, view: B::View);
}

/// Limits of one loop.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Inputs taken in one turn before effects are looked at again.
    pub inputs_per_turn: usize,
    /// Writes of one group commit (a single step's are never split).
    pub writes_per_commit: usize,
    /// Steps that wait for a commit under way; then inputs wait in their queue.
    pub steps_waiting_max: usize,
    /// Least time between two snapshots.
    pub publish_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            inputs_per_turn: 256,
            writes_per_commit: 1_024,
            steps_waiting_max: 16_384,
            publish_interval: Duration::from_millis(20),
        }
    }
}

type Commit<E> = Pin<Box<dyn Future<Output = Result<(), E>> + Send>>;

struct InFlight<B: Brain, E> {
    commit: Commit<E>,
    effects: Vec<B::Effect>,
    view: Option<B::View>,
}

/// Runs until the inputs end (all senders gone) or a commit fails.
pub async fn run<B, W>(
    mut brain: B,
    mut world: W,
    mut inputs: mpsc::Receiver<B::Input>,
    clock: Clock,
    limits: Limits,
) -> Result<(), W::Error>
where
    B: Brain,
    W: World<B>,
    W::Error: 'static,
{
    let mut waiting: VecDeque<Output<B::Write, B::Effect>> = VecDeque::new();
    let mut in_flight: Option<InFlight<B, W::Error>> = None;
    let mut taken: Vec<B::Input> = Vec::with_capacity(limits.inputs_per_turn);
    let mut dirty = true;
    let mut published = Instant::now() - limits.publish_interval;
    loop {
        if in_flight.is_none() {
            in_flight =
                start(&mut brain, &mut world, &mut waiting, &mut dirty, &mut published, limits, clock.now());
        }
        let wakeup = brain.next_wakeup().map(|due| Instant::now() + due.since(clock.now()));
        let publish_at = (dirty && in_flight.is_none()).then(|| published + limits.publish_interval);
        tokio::select! {
            biased;
            result = async { match &mut in_flight { Some(flight) => flight.commit.as_mut().await, None => std::future::pending().await } } => {
                result?;
                if let Some(done) = in_flight.take() {
                    done.effects.into_iter().for_each(|effect| world.effect(effect));
                    if let Some(view) = done.view {
                        world.publish(view);
                    }
                }
            }
            count = inputs.recv_many(&mut taken, limits.inputs_per_turn), if waiting.len() < limits.steps_waiting_max => {
                if count == 0 {
                    return finish(world, waiting, in_flight).await;
                }
                for input in taken.drain(..) {
                    waiting.push_back(brain.step(clock.now(), input));
                }
                dirty = true;
            }
            () = until(wakeup) => {
                waiting.push_back(brain.step(clock.now(), B::tick()));
                dirty = true;
            }
            () = until(publish_at) => {}
        }
    }
}

/// Sends the effects that need no commit, or starts a group commit of all that waits.
fn start<B: Brain, W: World<B>>(
    brain: &mut B,
    world: &mut W,
    waiting: &mut VecDeque<Output<B::Write, B::Effect>>,
    dirty: &mut bool,
    published: &mut Instant,
    limits: Limits,
    now: Time,
) -> Option<InFlight<B, W::Error>>
where
    W::Error: 'static,
{
    let mut writes = Vec::new();
    let mut effects = Vec::new();
    while writes.len() < limits.writes_per_commit {
        let Some(output) = waiting.pop_front() else { break };
        writes.extend(output.writes);
        effects.extend(output.effects);
    }
    // A snapshot is of all steps: none of them may wait for a later commit.
    let due = *dirty && waiting.is_empty() && published.elapsed() >= limits.publish_interval;
    let view = if due && brain.prepare_view(now) {
        *dirty = false;
        *published = Instant::now();
        Some(brain.view(now))
    } else {
        None
    };
    if writes.is_empty() {
        effects.into_iter().for_each(|effect| world.effect(effect));
        if let Some(view) = view {
            world.publish(view);
        }
        return None;
    }
    let commit: Commit<W::Error> = Box::pin(world.commit(writes));
    Some(InFlight { commit, effects, view })
}

/// The inputs ended: what was decided is still made durable and carried out.
async fn finish<B: Brain, W: World<B>>(
    mut world: W,
    waiting: VecDeque<Output<B::Write, B::Effect>>,
    in_flight: Option<InFlight<B, W::Error>>,
) -> Result<(), W::Error> {
    if let Some(flight) = in_flight {
        flight.commit.await?;
        flight.effects.into_iter().for_each(|effect| world.effect(effect));
    }
    let mut writes = Vec::new();
    let mut effects = Vec::new();
    for output in waiting {
        writes.extend(output.writes);
        effects.extend(output.effects);
    }
    if !writes.is_empty() {
        world.commit(writes).await?;
    }
    effects.into_iter().for_each(|effect| world.effect(effect));
    Ok(())
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    /// Writes even numbers down, echoes all of them.
    struct Echo;

    impl Brain for Echo {
        type Input = u64;
        type Write = u64;
        type Effect = u64;
        type View = ();

        fn step(&mut self, _now: Time, input: u64) -> Output<u64, u64> {
            let writes = if input.is_multiple_of(2) { vec![input] } else { Vec::new() };
            Output { writes, effects: vec![input] }
        }
        fn tick() -> u64 {
            0
        }
        fn next_wakeup(&self) -> Option<Time> {
            None
        }
        fn view(&mut self, _now: Time) {}
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<String>>>);

    impl Log {
        fn push(&self, line: String) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
        fn lines(&self) -> Vec<String> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
        }
    }

    struct SlowDisk {
        log: Log,
        fail_at: Option<u64>,
    }

    impl World<Echo> for SlowDisk {
        type Error = String;

        fn commit(&mut self, writes: Vec<u64>) -> impl Future<Output = Result<(), String>> + Send + 'static {
            let (log, fail_at) = (self.log.clone(), self.fail_at);
            async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                if fail_at.is_some_and(|number| writes.contains(&number)) {
                    return Err("disk full".to_owned());
                }
                log.push(format!("durable {writes:?}"));
                Ok(())
            }
        }
        fn effect(&mut self, effect: u64) {
            self.log.push(format!("effect {effect}"));
        }
        fn publish(&mut self, (): ()) {}
    }

    #[tokio::test(start_paused = true)]
    async fn effects_follow_the_writes_of_all_steps_before_them() {
        let log = Log::default();
        let (sender, receiver) = mpsc::channel(16);
        let world = SlowDisk { log: log.clone(), fail_at: None };
        let running = tokio::spawn(run(Echo, world, receiver, Clock::system(), Limits::default()));
        for number in [1, 2, 3, 4] {
            sender.send(number).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(sender);
        running.await.unwrap().unwrap();
        let expected = ["effect 1", "durable [2]", "effect 2", "durable [4]", "effect 3", "effect 4"];
        assert_eq!(log.lines(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_commit_ends_the_loop_and_drops_its_effects() {
        let log = Log::default();
        let (sender, receiver) = mpsc::channel(16);
        let world = SlowDisk { log: log.clone(), fail_at: Some(4) };
        let running = tokio::spawn(run(Echo, world, receiver, Clock::system(), Limits::default()));
        for number in [2, 4, 5] {
            sender.send(number).await.unwrap();
            tokio::time::sleep(Duration::from_millis(30)).await;
            if number == 4 {
                break;
            }
        }
        assert_eq!(running.await.unwrap(), Err("disk full".to_owned()));
        assert_eq!(log.lines(), ["durable [2]", "effect 2"]);
    }

    /// Its snapshots need three slices of work.
    struct Sliced {
        left: u32,
        log: Log,
    }

    impl Brain for Sliced {
        type Input = u64;
        type Write = u64;
        type Effect = u64;
        type View = ();

        fn step(&mut self, _now: Time, input: u64) -> Output<u64, u64> {
            self.log.push(format!("input {input}"));
            Output { writes: Vec::new(), effects: Vec::new() }
        }
        fn tick() -> u64 {
            0
        }
        fn next_wakeup(&self) -> Option<Time> {
            None
        }
        fn prepare_view(&mut self, _now: Time) -> bool {
            self.log.push("slice".to_owned());
            self.left = self.left.saturating_sub(1);
            self.left == 0
        }
        fn view(&mut self, _now: Time) {
            self.log.push("view".to_owned());
        }
    }

    struct Nothing;

    impl World<Sliced> for Nothing {
        type Error = String;

        fn commit(&mut self, _writes: Vec<u64>) -> impl Future<Output = Result<(), String>> + Send + 'static {
            std::future::ready(Ok(()))
        }
        fn effect(&mut self, _effect: u64) {}
        fn publish(&mut self, (): ()) {}
    }

    #[tokio::test(start_paused = true)]
    async fn inputs_have_their_turns_between_the_slices_of_a_snapshot() {
        let log = Log::default();
        let (sender, receiver) = mpsc::channel(16);
        let brain = Sliced { left: 3, log: log.clone() };
        for number in 1..=2 {
            sender.send(number).await.unwrap();
        }
        let limits = Limits { inputs_per_turn: 1, ..Limits::default() };
        let running = tokio::spawn(run(brain, Nothing, receiver, Clock::system(), limits));
        tokio::time::sleep(Duration::from_millis(5)).await;
        drop(sender);
        running.await.unwrap().unwrap();
        assert_eq!(log.lines(), ["slice", "input 1", "slice", "input 2", "slice", "view"]);
    }
}
