use super::*;
use crate::shared_state::FinalFrame;
use herder_core::WireId;
use herder_wire::{CallResult, Stamps};

#[test]
fn sizes_exceed_the_need_by_an_eighth_or_one_mebibyte() {
    const MIB: usize = 1 << 20;
    for (need, size) in [(1, 1), (MIB, 1), (MIB + 1, 2), (9 * MIB, 10), (64 * MIB, 64), (65 * MIB, 80)] {
        assert_eq!(size_for(need), Some(size * MIB), "{need}");
    }
    assert_eq!(size_for(usize::MAX), None);
}

/// R43: the pool's thread copies no result, not even to count its bytes.
#[test]
fn r43_results_are_counted_without_a_copy() {
    #[derive(Debug)]
    struct Untouched;
    impl SharedMemory for Untouched {
        fn copy_to(&self, _: u64, _: &mut [u8]) {
            panic!("the result is copied");
        }

        fn to_bytes(&self, _: u64, _: usize) -> Bytes {
            panic!("the result is copied");
        }
    }
    let mut buffer = Buffer::from(vec![0; THRESHOLD]).placed(NonZeroU64::MIN, 0);
    buffer.find_in(Arc::new(Untouched));
    let result = CallResult { wire: WireId(1), stamps: Stamps::default(), payload: "{}".into(), buffers: vec![buffer] };
    assert_eq!(FinalFrame::Result(result).result_size(), Some(THRESHOLD + 2));
}

#[cfg(target_os = "linux")]
mod on_linux {
    use super::super::*;
    use std::os::fd::OwnedFd;

    const MIB: u64 = 1 << 20;

    /// Returns slabs with a budget of 3 MiB, and the worker's end of the socket, which must stay open.
    fn slabs() -> (Slabs, SlabBudget, OwnedFd) {
        let (socket, worker) = SlabSocket::pair().unwrap();
        let budget = SlabBudget::new(3 * MIB);
        (Slabs::new(socket, budget.clone()), budget, worker)
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp(millis * 1_000_000)
    }

    fn buffers(sizes: &[usize]) -> CallBuffers {
        let buffers = sizes
            .iter()
            .enumerate()
            .map(|(number, size)| Buffer::from(vec![number as u8; *size]).named(&number.to_string()));
        CallBuffers { take: true, buffers: buffers.collect() }
    }

    /// Places the buffers and does the work, as the writer does. `None`: they go into the frame.
    fn write(slabs: &mut Slabs, now: Timestamp, buffers: &CallBuffers) -> Option<(NonZeroU64, CallBuffers)> {
        let Placed { slab, buffers, work, .. } = slabs.place(now, buffers, SHORT_COPY)?;
        work.is_none_or(|work| slabs.finish(now, slab, work.run())).then_some((slab, buffers))
    }

    fn grant(slabs: &mut Slabs, now: Timestamp, need: usize) {
        if let Some(work) = slabs.grant(now, need) {
            slabs.finish(now, work.slab(), work.run());
        }
    }

    fn ids(message: Option<SlabIds>) -> Vec<u64> {
        message.map_or(Vec::new(), |SlabIds(ids)| ids)
    }

    /// R43: only large buffers go to a slab, each at a place of its own. It is used again after it was freed, and not before.
    #[test]
    fn r43_a_slab_is_used_by_one_call_at_a_time() {
        let (mut slabs, _, _worker) = slabs();
        assert!(write(&mut slabs, at(0), &buffers(&[10, THRESHOLD - 1])).is_none());
        let one = |slabs: &mut Slabs| {
            let (id, written) = write(slabs, at(0), &buffers(&[THRESHOLD + 1, 10, THRESHOLD]))?;
            let places = written.buffers.iter().map(|buffer| buffer.place().map(|place| (place.slab, place.offset)));
            assert!(written.take && written.buffers[1].bytes().len() == 10);
            assert_eq!(places.collect::<Vec<_>>(), [Some((id, 0)), None, Some((id, (THRESHOLD + LINE) as u64))]);
            Some(id.get())
        };
        assert_eq!([one(&mut slabs), one(&mut slabs)], [Some(1), Some(2)]);
        assert!(matches!(slabs.on_free(at(0), &SlabIds(vec![3])), Err(SlabFault::NotInUse(3))));
        slabs.on_free(at(0), &SlabIds(vec![1])).unwrap();
        assert!(matches!(slabs.on_free(at(0), &SlabIds(vec![1])), Err(SlabFault::NotInUse(1))));
        assert_eq!(one(&mut slabs), Some(1));
        assert_eq!([one(&mut slabs), one(&mut slabs)], [Some(3), None], "the budget");
    }

    /// R43: a slab that is being filled belongs to no side. It is there again if its frame is not written, and what was reserved ends
    /// with the work if nobody waits for it.
    #[test]
    fn r43_a_slab_that_is_being_filled_is_not_used() {
        let (mut slabs, budget, _worker) = slabs();
        let large = buffers(&[SHORT_COPY + 1]);
        let placed = slabs.place(at(0), &large, SHORT_COPY).unwrap();
        assert!(matches!(slabs.on_free(at(0), &SlabIds(vec![1])), Err(SlabFault::NotInUse(1))));
        assert!(matches!(slabs.on_drop(at(1000), &SlabIds(vec![1])), Err(SlabFault::NotDropped(1))));
        assert!(
            !slabs.drop_unused(at(60_000)) && slabs.place(at(0), &large, SHORT_COPY).is_none(),
            "the budget has 1 MiB"
        );
        slabs.take_back(placed);
        assert_eq!(write(&mut slabs, at(0), &large).unwrap().0.get(), 2, "the first one was never made");
        slabs.on_free(at(0), &SlabIds(vec![2])).unwrap();
        let placed = slabs.place(at(0), &large, SHORT_COPY).unwrap();
        assert!(placed.work.is_some(), "a long copy");
        slabs.take_back(placed);
        let short = buffers(&[SHORT_COPY]);
        let placed = slabs.place(at(0), &short, SHORT_COPY).unwrap();
        assert!(placed.slab.get() == 2 && placed.work.is_none() && placed.copied == SHORT_COPY, "a short copy");
        slabs.take_back(placed);
        let work = slabs.place(at(0), &short, SHORT_COPY - 1).unwrap().work.unwrap();
        let Ok(Made::Arguments(memory, None)) = work.run() else { panic!("it is not new") };
        drop((slabs, memory));
        assert!(budget.reserve(3 * MIB).is_some());
    }

    /// R43: after the end of the worker, work goes on with what it owns, and releases it.
    #[test]
    fn r43_work_outlives_its_worker() {
        let (mut slabs, budget, worker) = slabs();
        let arguments = slabs.place(at(0), &buffers(&[THRESHOLD]), SHORT_COPY).unwrap().work.unwrap();
        let results = slabs.grant(at(0), THRESHOLD).unwrap();
        assert!(slabs.grant(at(0), THRESHOLD).is_none(), "it gets that one");
        drop((slabs, worker));
        assert!(budget.reserve(2 * MIB).is_none());
        let made = [arguments.run().unwrap(), results.run().unwrap()];
        assert!(budget.reserve(2 * MIB).is_none());
        drop(made);
        assert!(budget.reserve(3 * MIB).is_some());
    }

    /// R43: slabs that another worker needs are dropped, as many as necessary, and not those that were used a moment ago.
    #[test]
    fn r43_slabs_make_room_for_other_workers() {
        let (mut slabs, budget, _worker) = slabs();
        for id in 1..=3 {
            assert_eq!(write(&mut slabs, at(0), &buffers(&[THRESHOLD])).unwrap().0.get(), id);
        }
        slabs.on_free(at(0), &SlabIds(vec![1, 2])).unwrap();
        assert_eq!([slabs.idle(at(999)), slabs.idle(at(1000))], [0, 2 << 20]);
        let (socket, _other) = SlabSocket::pair().unwrap();
        let mut others = Slabs::new(socket, budget);
        assert!(write(&mut others, at(0), &buffers(&[4 << 20])).is_none() && others.take_missing().is_none());
        assert!(write(&mut others, at(0), &buffers(&[THRESHOLD])).is_none());
        assert_eq!((others.take_missing(), others.take_missing()), (Some(1 << 20), None));
        assert_eq!(
            [slabs.drop_idle(at(999), 1), slabs.drop_idle(at(1000), 1), slabs.drop_idle(at(1000), 1)],
            [0, 1 << 20, 1 << 20]
        );
        assert_eq!(slabs.drop_idle(at(9000), 1), 0, "the third one is in use");
        assert_eq!(
            [slabs.being_dropped(at(1999)), slabs.being_dropped(at(2000)), slabs.idle(at(9000))],
            [2 << 20, 0, 0]
        );
        assert_eq!(ids(slabs.messages()[1].take()), [1, 2]);
        slabs.on_drop(at(1000), &SlabIds(vec![1, 2])).unwrap();
        assert!(write(&mut others, at(1000), &buffers(&[THRESHOLD])).is_some());
    }

    /// R43: unused slabs are dropped, and count until the worker has unmapped them.
    #[test]
    fn r43_unused_slabs_are_dropped() {
        let (mut slabs, budget, _worker) = slabs();
        assert!(write(&mut slabs, at(0), &buffers(&[THRESHOLD])).is_some(), "in use");
        let (unused, _) = write(&mut slabs, at(0), &buffers(&[THRESHOLD])).unwrap();
        slabs.on_free(at(1000), &SlabIds(vec![unused.get()])).unwrap();
        assert!(!slabs.drop_unused(at(30_999)) && slabs.drop_unused(at(31_000)) && slabs.drop_unused(at(31_000)));
        let [freed, dropped] = slabs.messages();
        assert_eq!((ids(freed), ids(dropped)), (vec![], vec![unused.get()]));
        assert!(!slabs.drop_unused(at(90_000)), "the other one is in use");
        assert!(budget.reserve(2 * MIB).is_none());
        slabs.on_drop(at(1000), &SlabIds(vec![unused.get()])).unwrap();
        assert!(matches!(slabs.on_drop(at(1000), &SlabIds(vec![unused.get()])), Err(SlabFault::NotDropped(_))));
        assert!(budget.reserve(2 * MIB).is_some());
    }

    /// R43: a worker drops a slab that it could not get, and gets no others for a while. It drops no slab that it does not use.
    #[test]
    fn r43_a_worker_drops_slabs_that_it_cannot_get() {
        let (mut slabs, budget, _worker) = slabs();
        let (lost, _) = write(&mut slabs, at(0), &buffers(&[THRESHOLD])).unwrap();
        slabs.on_drop(at(1000), &SlabIds(vec![lost.get()])).unwrap();
        assert!(budget.reserve(3 * MIB).is_some());
        assert!(write(&mut slabs, at(10_999), &buffers(&[THRESHOLD])).is_none());
        let (free, _) = write(&mut slabs, at(11_000), &buffers(&[THRESHOLD])).unwrap();
        slabs.on_free(at(11_000), &SlabIds(vec![free.get()])).unwrap();
        assert!(matches!(slabs.on_drop(at(11_000), &SlabIds(vec![free.get()])), Err(SlabFault::NotDropped(_))));
    }

    /// R43: a larger buffer gets the room of slabs that are not in use, after the worker has unmapped them. The pool decides that: the
    /// worker's own slabs alone may not suffice, and would be lost for nothing. One that can never fit asks for no room.
    #[test]
    fn r43_slabs_make_room_for_others() {
        let (mut slabs, budget, _worker) = slabs();
        let (small, _) = write(&mut slabs, at(0), &buffers(&[THRESHOLD])).unwrap();
        slabs.on_free(at(0), &SlabIds(vec![small.get()])).unwrap();
        for (size, missing) in [(4 << 20, None), (3 << 20, Some(3 << 20))] {
            assert!(write(&mut slabs, at(2000), &buffers(&[size])).is_none());
            assert_eq!((slabs.take_missing(), ids(slabs.messages()[1].take())), (missing, Vec::new()));
        }
        slabs.drop_idle(at(2000), 2 << 20);
        assert!(write(&mut slabs, at(2000), &buffers(&[3 << 20])).is_none(), "the worker has not answered yet");
        assert_eq!(ids(slabs.messages()[1].take()), [small.get()]);
        slabs.on_drop(at(2000), &SlabIds(vec![small.get()])).unwrap();
        assert!(write(&mut slabs, at(2000), &buffers(&[3 << 20])).is_some());
        drop(slabs);
        assert!(budget.reserve(3 * MIB).is_some(), "the end of the worker releases all");
    }

    /// R43: a worker has a limited number of slabs. If it is reached, one that is not in use makes place for another.
    #[test]
    fn r43_one_slab_makes_place_for_another() {
        let (mut slabs, _, _worker) = slabs();
        slabs.budget = SlabBudget::new(1000 * MIB);
        for id in 1..=MAX_SLABS as u64 {
            assert_eq!(write(&mut slabs, at(0), &buffers(&[THRESHOLD])).unwrap().0.get(), id);
        }
        slabs.on_free(at(0), &SlabIds(vec![3, 4])).unwrap();
        assert!(write(&mut slabs, at(1000), &buffers(&[2 << 20])).is_none() && slabs.take_missing().is_none());
        assert_eq!(ids(slabs.messages()[1].take()), [3]);
        slabs.on_drop(at(1000), &SlabIds(vec![3])).unwrap();
        assert!(write(&mut slabs, at(1000), &buffers(&[2 << 20])).is_some());
    }

    /// R43: after an attempt that failed, the next ones come only later. Until then, nothing is allocated.
    #[test]
    fn r43_slabs_that_cannot_be_made_are_not_tried_for_each_call() {
        let (mut slabs, budget, worker) = slabs();
        drop(worker);
        for (millis, attempts) in [(0, 1), (9_999, 1), (10_000, 2), (19_999, 2)] {
            assert!(write(&mut slabs, at(millis), &buffers(&[THRESHOLD])).is_none());
            grant(&mut slabs, at(millis), THRESHOLD);
            assert_eq!(slabs.last_id, attempts, "{millis}");
        }
        assert!(slabs.results.is_empty() && budget.reserve(3 * MIB).is_some());
    }

    /// R43: a worker gets one slab for results, and another one only if that one is in use or too small; and never many that
    /// it does not use, since each has a descriptor.
    #[test]
    fn r43_slabs_for_results_are_granted_one_after_another() {
        let (mut slabs, _, _worker) = slabs();
        slabs.budget = SlabBudget::new(1000 * MIB);
        (0..3).for_each(|_| grant(&mut slabs, at(0), THRESHOLD));
        assert_eq!(slabs.results.len(), 1);
        (1..20).for_each(|size| grant(&mut slabs, at(0), size << 20));
        assert_eq!(slabs.results.values().map(|slab| slab.size >> 20).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }
}
