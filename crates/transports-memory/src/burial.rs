//! How a message that nobody can do gets among the dead letters.

use busgate_core::{Cursor, Error, Holder, Message, Moment, Origin, Result, Story, dead_letter};
use std::{sync::Arc, time::Duration};
use tracing::{error, warn};

use crate::{
    crew::Wakes,
    history::{Held, History},
    registry::Registry,
    topic::Topic,
};

/// How long to wait before a burial that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// A message to bury.
#[derive(Debug)]
pub(crate) struct Letter {
    holder: Holder,
    story: Story,
    /// `None` when retention dropped it first.
    message: Option<(Arc<Message>, Cursor)>,
}

impl Letter {
    pub(crate) fn new(history: &History, holder: &Holder, story: Story) -> Self {
        let held = |held: &Held| (Arc::clone(&held.message), held.cursor.clone());
        let message = history.get(story.offset).map(held);
        Self { holder: holder.clone(), story, message }
    }
}

impl Registry {
    /// Appends the letters to the event's dead letters, then lets their groups forget them.
    pub(crate) fn bury(&self, topic: &Topic, letters: Vec<Letter>) {
        for letter in letters {
            let now = self.now();
            let buried = self.append(topic, &letter, now);
            if let Err(error) = &buried {
                error!(event = %topic.name, holder = %letter.holder, %error, "a dead letter could not be kept");
            }
            settle(topic, &letter, now, buried.is_ok());
        }
    }

    fn append(&self, topic: &Topic, letter: &Letter, now: Moment) -> Result<()> {
        let Some((message, cursor)) = &letter.message else {
            warn!(event = %topic.name, holder = %letter.holder, "retention dropped a message before it could become a dead letter");
            return Ok(());
        };
        let Ok(name) = topic.name.dead_letter() else {
            warn!(event = %topic.name, holder = %letter.holder, id = %message.id, "a dead letter was given up and stays where it is");
            return Ok(());
        };
        let origin = Origin { event: &topic.name, holder: &letter.holder, cursor };
        let letter = dead_letter(message, origin, &letter.story, now.wall);
        let answer = self.ensure(&name)?.publish(now, vec![letter]).pop();
        answer.unwrap_or_else(|| Err(Error::internal("a publish gave no answer"))).map(|_| ())
    }
}

fn settle(topic: &Topic, letter: &Letter, now: Moment, buried: bool) {
    let mut wakes = Wakes::default();
    let mut state = topic.lock(now.wall);
    let Some(index) = state.find_crew(&letter.holder) else { return };
    let Some(crew) = state.crews.get_mut(index) else { return };
    if buried {
        crew.group.bury(letter.story.offset);
        state.wake_for_work(index, now.at, &mut wakes);
    } else {
        crew.group.bury_later(letter.story.offset, now.at + AGAIN);
    }
    let deadline = state.crews.get(index).and_then(|crew| crew.group.next_deadline());
    let alarm = state.arm(deadline);
    drop(state);
    wakes.wake();
    if alarm {
        topic.alarm.notify_one();
    }
}
