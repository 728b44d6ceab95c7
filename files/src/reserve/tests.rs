use super::*;

/// A file system with quotas, as the kernel keeps them, its owner and everybody else.
#[derive(Debug, Clone)]
struct Model {
    all: u64,
    /// What the owner has, without the ballast.
    owner: u64,
    ballast: u64,
    others: Vec<Project>,
    watch: Watch,
}

/// Where a look ends: a power cut, or the end of the watch's program, comes between any two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Never,
    /// After so many bounds.
    Bounds(u64),
    /// After so many files of the ballast.
    Ballast(u64),
}

impl Model {
    fn new(all: u64, claims: &[u64]) -> Self {
        let others = claims.iter().map(|claim| Project { used: 1, most: *claim, claim: *claim });
        let mut model =
            Self { all, owner: 20, ballast: 0, others: others.collect(), watch: Watch::default() };
        model.look(Cut::Never);
        model
    }

    fn free(&self) -> u64 {
        let others: u64 = self.others.iter().map(|other| other.used).sum();
        self.all - self.owner - self.ballast - others
    }

    fn reserve(&self) -> Reserve {
        Reserve::of(self.all)
    }

    fn beside(&self) -> u64 {
        u64::try_from(self.others.len()).unwrap()
    }

    fn look(&mut self, cut: Cut) {
        let seen = Seen { all: self.all, free: self.free(), ballast: self.ballast };
        let todo = self.watch.step(seen);
        let bound = |others: &mut Vec<Project>, aim: Aim| {
            let many = match cut {
                Cut::Bounds(many) => many,
                Cut::Ballast(_) | Cut::Never => u64::MAX,
            };
            for other in others.iter_mut().take(usize::try_from(many).unwrap_or(usize::MAX)) {
                other.most = match aim {
                    Aim::Free => other.claim,
                    Aim::Hold => other.hold(),
                    Aim::Held => other.held(),
                };
            }
        };
        let interrupted = matches!(cut, Cut::Bounds(_));
        if let Some(aim @ (Aim::Hold | Aim::Held)) = todo.bounds {
            bound(&mut self.others, aim);
            if interrupted {
                return self.restart();
            }
        }
        let most = self.ballast + self.free();
        match cut {
            Cut::Ballast(files) if files < todo.ballast.abs_diff(self.ballast) => {
                let half = if todo.ballast > self.ballast {
                    self.ballast + files
                } else {
                    self.ballast - files
                };
                self.ballast = half.min(most);
                return self.restart();
            }
            Cut::Ballast(_) | Cut::Bounds(_) | Cut::Never => self.ballast = todo.ballast.min(most),
        }
        if todo.bounds == Some(Aim::Free) {
            bound(&mut self.others, Aim::Free);
            if interrupted {
                self.restart();
            }
        }
    }

    /// The watch knows nothing any more; the disk is as it was.
    fn restart(&mut self) {
        self.watch = Watch::default();
    }

    /// Everybody else makes files until they may not.
    fn fill(&mut self) {
        for number in 0..self.others.len() {
            self.make(number, u64::MAX);
        }
    }

    fn make(&mut self, number: usize, files: u64) {
        let free = self.free();
        let other = &mut self.others[number];
        other.used += files.min(other.most.saturating_sub(other.used)).min(free);
    }

    fn begin(&mut self, claim: u64) {
        let new = Project { used: 1, most: claim, claim };
        if self.free() == 0 {
            return;
        }
        let let_go = self.ballast < self.reserve().inodes();
        let most = self.reserve().begins(self.free(), let_go, new);
        self.others.push(Project { most, ..new });
    }
}

/// Numbers that look random and are the same each time: Knuth's MMIX generator.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

#[test]
fn however_others_fill_it_and_whatever_ends_the_watch_the_owner_has_half_the_reserve() {
    for seed in 0..400 {
        let mut numbers = Numbers(seed);
        let all = [3_000, 30_000, 106_000, 4_000_000][usize::try_from(seed % 4).unwrap()];
        let claims: Vec<u64> =
            (0..1 + numbers.below(6)).map(|_| 64 + numbers.below(2 * all)).collect();
        let mut model = Model::new(all, &claims);
        for _ in 0..120 {
            let which = usize::try_from(numbers.below(model.beside())).unwrap();
            match numbers.below(7) {
                0 | 1 => {
                    let files = numbers.below(all);
                    model.make(which, files);
                }
                2 => {
                    let gone = numbers.below(model.others[which].used);
                    model.others[which].used -= gone;
                }
                3 if (model.beside() + 1) * START <= model.reserve().inodes() / 2 => {
                    let claim = 64 + numbers.below(2 * all);
                    model.begin(claim);
                }
                4 => model.look(Cut::Bounds(numbers.below(8))),
                5 => model.look(Cut::Ballast(numbers.below(3_000))),
                _ => model.look(Cut::Never),
            }
            // At its worst: all is taken at once before a look, and after it again.
            let mut worst = model.clone();
            worst.fill();
            worst.look(Cut::Never);
            if worst.watch.aim() == Aim::Free {
                // Some had been held and are let go by this look.
                worst.fill();
                worst.look(Cut::Never);
            }
            worst.fill();
            let half = worst.reserve().inodes() / 2;
            assert!(worst.free() >= half, "seed {seed}: {} < {half}: {worst:?}", worst.free());
            worst.look(Cut::Never);
            worst.fill();
            assert!(worst.free() >= half, "seed {seed}: afterwards {} < {half}", worst.free());
        }
    }
}

#[test]
fn with_enough_removed_everything_is_as_it_was() {
    for cut in [Cut::Never, Cut::Bounds(1), Cut::Ballast(7)] {
        let mut model = Model::new(106_000, &[200_000, 200_000, 64]);
        model.fill();
        model.look(cut);
        model.look(Cut::Never);
        assert!(model.watch.aim() != Aim::Free && model.ballast == 0, "{model:?}");
        // It may make again what it removes, and no more.
        let before = model.others[0].used;
        model.others[0].used -= 10;
        model.look(Cut::Never);
        model.fill();
        assert_eq!(model.others[0].used, before);
        // One that begins now can do something.
        model.begin(1_000_000);
        assert!(model.others[3].most > 1 && model.others[3].most < 1_000, "{model:?}");
        model.others[0].used = 1;
        model.look(cut);
        model.look(Cut::Never);
        assert_eq!((model.watch.aim(), model.ballast), (Aim::Free, 4096));
        assert!(model.others.iter().all(|other| other.most == other.claim), "{model:?}");
    }
}

#[test]
fn a_bound_that_was_set_in_a_moment_between_two_looks_goes() {
    let mut model = Model::new(106_000, &[500, 500]);
    // Short when it began, and well again when it was looked.
    model.others[0].most = 7;
    for _ in 0..=LOOKS + 1 {
        model.look(Cut::Never);
    }
    assert_eq!(model.others[0].most, 500);
}

#[test]
fn with_plenty_left_nothing_is_gone_through_at_each_look() {
    let mut watch = Watch::default();
    let seen = Seen { all: 106_000, free: 90_000, ballast: 4096 };
    let looked = (0..310).filter(|_| watch.step(seen).bounds.is_some()).count();
    assert_eq!(looked, 10);
    // Where it is near, each begins held and is let go by the next look.
    let near = Seen { free: 12_000, ..seen };
    assert!((0..10).all(|_| watch.step(near).bounds == Some(Aim::Free)));
}

#[test]
fn a_file_system_that_makes_inodes_as_they_are_needed_is_let_be() {
    let mut watch = Watch::default();
    let todo = watch.step(Seen { all: 0, free: 0, ballast: 3 });
    assert_eq!(todo, Todo { bounds: None, ballast: 3 });
}

#[test]
fn a_bound_is_never_none_and_never_more_than_the_claim() {
    let reserve = Reserve::of(106_000);
    for used in [0, 1, 5_000] {
        for claim in [1, 64, 10_000, u64::MAX] {
            let project = Project { used, most: claim, claim };
            for (free, let_go) in [(0, true), (1, false), (u64::MAX, false), (u64::MAX, true)] {
                let bound = reserve.begins(free, let_go, project);
                assert!(bound > 0 && bound <= claim, "{project:?}: {bound}");
                assert_eq!(
                    bound == claim,
                    used.max(START) >= claim || (free == u64::MAX && !let_go)
                );
            }
        }
    }
}
