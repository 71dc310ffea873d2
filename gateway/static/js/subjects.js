// What is known of each ride, upload and card payment, folded from the live messages. Knows nothing of the page.

const KEPT = 600; // subjects remembered; far more than any board shows, so that a click still finds its subject
const CORRECTIONS_KEPT = 80;

export class Subjects {
  constructor() {
    this.byId = new Map(); // in order of first sight: the first is the oldest
    this.pinned = new Set(); // never forgotten: the visitor's own
  }

  get(id) {
    return this.byId.get(id);
  }

  /** Fold one live message in. Returns the subject, or null when the message is about none. */
  apply(message, now) {
    if (!["prediction", "decision", "revision"].includes(message.type) || !message.subject_id) return null;
    const subject = this.byId.get(message.subject_id) ?? this.open(message, now);
    if (subject.kind === "upload" && !current(subject, message.event_id)) return subject;
    subject.seen = now;
    if (message.type === "prediction") predicted(subject, message, now);
    else decided(subject, message, now);
    return subject;
  }

  open(message, now) {
    const subject = {
      id: message.subject_id, kind: message.kind, user: message.user_id, events: [], figures: new Map(), durations: [],
      track: null, decision: null, opened: false, seen: now, firstFigureAt: null, decidedAt: null,
    };
    this.byId.set(subject.id, subject);
    this.forget();
    return subject;
  }

  forget() {
    for (const id of this.byId.keys()) {
      if (this.byId.size <= KEPT) return;
      if (!this.pinned.has(id)) this.byId.delete(id);
    }
  }
}

/** Whether the message is about the upload as it is now; an update is judged afresh, so its first message clears the row. */
function current(upload, event) {
  if (upload.events.at(-1) === event) return true;
  if (upload.events.includes(event)) return false;
  if (upload.events.length > 0) Object.assign(upload, { figures: new Map(), decision: null });
  upload.events.push(event);
  return true;
}

function predicted(subject, message, now) {
  const { model, version, value, unit, detail, stage } = message;
  subject.opened ||= stage === "initial";
  subject.firstFigureAt ??= now;
  subject.figures.set(model, { version, value, unit, detail: detail ?? subject.figures.get(model)?.detail ?? null, stage });
  if (model === "eta") subject.track ??= trackOf(detail);
  if (model === "duration") corrected(subject, value);
}

/** The track of an `eta` figure, [lon, lat] pairs from pickup to drop-off, or null: a detail may hold anything. */
function trackOf(detail) {
  const track = detail?.track;
  const drawable = Array.isArray(track) && track.length > 1 && track.every((point) => Array.isArray(point) && point.every(Number.isFinite));
  return drawable ? track : null;
}

function corrected(subject, minutes) {
  subject.durations.push(minutes);
  if (subject.durations.length > CORRECTIONS_KEPT) subject.durations.shift();
}

function decided(subject, message, now) {
  const { action, reasons, missing, revision, predictions } = message;
  if (subject.decision?.revision > revision) return; // a late duplicate of an earlier answer
  subject.opened = true;
  subject.decidedAt ??= now;
  subject.decision = { action, reasons, missing, revision };
  for (const { model, ...figure } of predictions) {
    const known = subject.figures.get(model);
    if (!known || known.stage === "initial") subject.figures.set(model, { stage: "initial", detail: null, ...figure });
    if (model === "duration" && subject.durations.length === 0) corrected(subject, figure.value);
    if (model === "eta") subject.track ??= trackOf(figure.detail);
  }
}
