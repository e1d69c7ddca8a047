//! The model checker: visits every state of a pool once and compares it with the rules. States are recognized by their
//! hashes. Two of a million states have the same hash with a probability of 1 in 37 million.

use super::{
    actions::Action,
    pool::Pool,
    rules::{self, Rule},
    state::State,
};
use foldhash::quality::FixedState;
use std::{
    collections::{HashSet, VecDeque},
    fmt,
    hash::BuildHasher,
};

/// The actions that lead from the first state to another.
pub(crate) struct Path(pub(crate) Vec<Action>);

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} steps:", self.0.len())?;
        self.0.iter().try_for_each(|action| writeln!(f, "- {action:?}"))
    }
}

/// The hashes of the states that were reached.
#[derive(Default)]
struct Reached(HashSet<u64, FixedState>);

impl Reached {
    /// Returns whether the state was not reached before.
    fn add(&mut self, state: &State) -> bool {
        self.0.insert(self.0.hasher().hash_one(state))
    }
}

/// Visits every state, depth first, which keeps few states in memory. (Breadth first keeps hundreds of thousands.) Ends at
/// the first state that violates a rule. Returns the number of states and that rule.
pub(crate) fn visit_all(pool: &Pool) -> (usize, Option<&'static Rule>) {
    let first = State::first(pool);
    let mut reached = Reached::default();
    reached.add(&first);
    let mut violated = rules::violated(pool, &first);
    // Each state with the actions that were not performed in it.
    let mut stack = vec![(actions(pool, &first), first)];
    while violated.is_none()
        && let Some((mut actions_left, mut state)) = stack.pop()
    {
        let Some(action) = actions_left.pop() else { continue };
        // The last action may change the state itself.
        if !actions_left.is_empty() {
            stack.push((actions_left, state.clone()));
        }
        if state.perform(pool, action) && reached.add(&state) {
            violated = rules::violated(pool, &state);
            stack.push((actions(pool, &state), state));
        }
    }
    (reached.0.len(), violated)
}

/// Returns the shortest path to a state that violates this rule, if there is one: visits the states breadth first.
pub(crate) fn shortest(pool: &Pool, rule: &str) -> Option<Path> {
    let rule = rules::find(rule)?;
    let first = State::first(pool);
    let mut reached = Reached::default();
    reached.add(&first);
    // Each action with the index of the action before it. The first entry stands for the first state.
    let mut steps: Vec<(usize, Option<Action>)> = vec![(0, None)];
    let mut queue = VecDeque::from([(0, first)]);
    while let Some((step, state)) = queue.pop_front() {
        if !(rule.holds)(pool, &state) {
            return Some(path_to(step, &steps));
        }
        for action in actions(pool, &state) {
            let mut next = state.clone();
            if next.perform(pool, action) && reached.add(&next) {
                steps.push((step, Some(action)));
                queue.push_back((steps.len() - 1, next));
            }
        }
    }
    None
}

fn path_to(mut step: usize, steps: &[(usize, Option<Action>)]) -> Path {
    let mut actions = Vec::new();
    while let (before, Some(action)) = steps[step] {
        actions.push(action);
        step = before;
    }
    actions.reverse();
    Path(actions)
}

fn actions(pool: &Pool, state: &State) -> Vec<Action> {
    let mut actions = Vec::new();
    state.possible_actions(pool, &mut actions);
    actions
}

impl State {
    /// Performs an action. Returns false if it is not possible, or if the model ends before this state.
    fn perform(&mut self, pool: &Pool, action: Action) -> bool {
        self.apply_action(pool, action) && pool.until.is_none_or(|end| self.now < end)
    }
}
