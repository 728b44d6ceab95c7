//! What a unit's image asks for and does not get.

use ferrite_schema::api::EventKind;

use super::Supervisor;

impl Supervisor {
    /// Takes what a person should know of what the image of a unit's new container says. It is said once, not at each start.
    pub(super) fn take_notes(&mut self, name: &str, notes: Vec<String>) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let known = std::mem::replace(&mut entry.image_notes, notes.clone());
        for note in notes.into_iter().filter(|note| !known.contains(note)) {
            tracing::warn!(unit = name, note, "image-asks-for-more");
            self.publish(name, EventKind::Image, note);
        }
    }
}
