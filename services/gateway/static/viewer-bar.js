// Answering to the AI in the viewer: a thin bar below OHIF, and single keys. Served before viewer.js, in one file with
// window.vigieTexts and vigieKeys (gateway/viewer.py), and the keys that OHIF is moved away from. What the server has not
// taken yet is kept, sent again under the same verdict_id, and said so; leaving the page asks first.
const vigieBar = {
  id: 'vigie.verdict-bar',
  onModeEnter({ servicesManager }) {
    const study = new URLSearchParams(location.search).get('StudyInstanceUIDs');
    // a learner's case is answered on its own page
    const isTraining = location.pathname.endsWith('/training');
    if (study && !isTraining) this.bar = new VerdictBar(study, servicesManager.services);
  },
  onModeExit() {
    this.bar?.close();
  },
};

const REASONS = ['vessel', 'normal_anatomy', 'benign', 'artefact', 'duplicate', 'outside_scope', 'missed', 'other'];
const FINDINGS = ['lesion', 'nodule', 'mass', 'cyst', 'lymph_node', 'metastasis'];
const LOOK_MS = 300;
const ASK_MS = 3000;
const TIMEOUT_MS = 10000;
// Refusals that may pass: signed out, not let through, too slow, too early, too often.
const PASSING = [401, 403, 408, 425, 429];

class VerdictBar {
  constructor(study, services) {
    // as the viewer goes to it (viewer.js)
    const lesion = Number(new URLSearchParams(location.search).get('segment') || 1);
    Object.assign(this, { study, services, texts: window.vigieTexts, state: null, seen: null, lesion });
    Object.assign(this, { saved: [], unsent: [], refused: [] });
    this.root = document.createElement('section');
    this.root.id = 'vigie-bar';
    this.root.setAttribute('aria-label', this.texts.bar);
    this.root.innerHTML =
      '<span class="where" role="status" aria-live="polite"></span><span class="stands"></span>' +
      '<span class="keys"></span><span class="panel" role="group" hidden></span>' +
      '<span class="said" role="status" aria-live="polite"></span>';
    const keys = this.texts.keys.map(([key, words]) => button(words, () => this.act(key), { key }));
    this.root.querySelector('.keys').replaceChildren(...keys);
    document.body.append(this.root);
    document.documentElement.classList.add('vigie-has-bar');
    this.onKey = event => this.press(event);
    this.onLeave = event => this.unsent.length && event.preventDefault();
    window.addEventListener('keydown', this.onKey, true);
    window.addEventListener('beforeunload', this.onLeave);
    // what a page's own leaving asks by itself, the work list asks of a viewer that it shows
    window.vigieMayLeave = () => this.unsent.length === 0 || confirm(this.texts.leave);
    const unlessHidden = () => (document.hidden && this.unsent.length === 0 ? null : this.ask());
    this.timers = [setInterval(() => this.follow(), LOOK_MS), setInterval(unlessHidden, ASK_MS)];
    this.ask();
  }

  close() {
    this.timers.forEach(clearInterval);
    window.removeEventListener('keydown', this.onKey, true);
    window.removeEventListener('beforeunload', this.onLeave);
    document.documentElement.classList.remove('vigie-has-bar');
    this.root.remove();
  }

  // What is asked: the result that the viewer was opened on, or one after it that tells of the same lesions by the same numbers,
  // as one written again for the right patient does. Never another model's, and of no other lesions than those on the screen.
  get question() {
    const all = this.state?.questions ?? [];
    this.opened ??= this.openedOn(all);
    return all.find(one => one.result_id === this.opened?.result_id) ?? all.find(one => isSame(one, this.opened));
  }

  openedOn(all) {
    const asked = new URLSearchParams(location.search);
    const by = (name, value) => value && all.find(one => one[name] === value);
    if (asked.has('seg')) return by('seg_series_instance_uid', asked.get('seg'));
    return by('series_instance_uid', asked.get('initialSeriesInstanceUID')) ?? all[0];
  }

  // What is on the screen: the question, or what was asked last, whose answers can still be undone.
  get onScreen() {
    return (this.asked = this.question ?? this.asked);
  }

  get isNewer() {
    return !this.question && (this.state?.questions ?? []).some(one => one.model.name === this.opened?.model.name);
  }

  get target() {
    return this.onScreen?.lesions.find(one => one.number === this.lesion) ?? null;
  }

  standing(mine) {
    const uid = this.target?.tracking_uid ?? null;
    const of = one => one.stands && one.result_id === this.onScreen?.result_id && one.tracking_uid === uid;
    return (this.state?.verdicts ?? []).filter(one => of(one) && (!mine || (one.mine && one.answer in this.texts.answers)));
  }

  async ask() {
    await this.sendAll();
    try {
      this.state = await this.look();
      await this.lookForSaved();
      if (this.away && this.unsent.length === 0) this.say(this.refused.join(' ') || this.texts.back, this.refused.length > 0);
      this.away = false;
    } catch (error) {
      this.away = true;
      if (this.unsent.length === 0) this.say(`${this.texts.away} (${error.message})`, true);
    }
    this.show();
  }

  // What is asked and answered. In another tab a colleague may have signed in since: nothing is sent or shown in their name.
  async look() {
    const state = await this.call('verdicts');
    this.reader ??= state.reader;
    if (state.reader !== this.reader) throw new Error(this.texts.sign_in);
    return state;
  }

  // Objects that came after the viewer was opened: measurements (SR) and segmentations (SEG) that OHIF saved.
  async lookForSaved() {
    const { objects } = await this.call('evidence');
    this.seen ??= new Set(objects.map(one => one.sop_instance_uid));
    const fresh = objects.filter(one => !this.seen.has(one.sop_instance_uid));
    if (fresh.length === 0) return;
    fresh.forEach(one => this.seen.add(one.sop_instance_uid));
    for (const one of fresh) {
      if (one.refused) this.say(`${this.texts.unusable} (${one.refused})`, true);
      else this.saved.unshift(...one.marks.map(mark => ({ ...mark, object: one.sop_instance_uid, modality: one.modality })));
    }
    if (this.saved.length) this.say(`${this.texts.saved_object}${this.texts.colon} ${markWords(this.saved[0])}. ${this.texts.use_it}`);
  }

  async call(path, body) {
    const answer = await fetch(`/api/studies/${this.study}/${path}`, {
      ...(body
        ? { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }
        : { headers: { 'Vigie-Refresh': '1' } }), // that a page is open keeps no session alive
      cache: 'no-store',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    const told = await answer.json().catch(() => ({}));
    if (answer.ok) return told;
    const words = answer.status === 401 ? this.texts.sign_in : told.detail ?? answer.status;
    // whose verdict it is never changes
    const passes = answer.status >= 500 || (PASSING.includes(answer.status) && told.code !== 'not_yours');
    throw Object.assign(new Error(words), { refused: !passes });
  }

  give(answer, more = {}) {
    // a panel can stay open for longer than its question
    if (!this.question && !['add', 'undo'].includes(answer)) return this.say(this.texts.nothing, true);
    const uid = answer === 'add' ? null : this.target?.tracking_uid ?? null;
    const id = [...crypto.getRandomValues(new Uint8Array(16))].map(byte => byte.toString(16).padStart(2, '0')).join('');
    const body = { verdict_id: id, answer, result_id: this.question?.result_id ?? null, tracking_uid: uid, page: 'viewer', ...more };
    this.unsent.push({ path: 'verdicts', body, name: this.nameOf(body) });
    if (answer === 'add') this.added = id;
    this.open(null);
    return this.ask();
  }

  async sendAll() {
    if (this.sending) return this.sending;
    this.sending = this.sendEach();
    await this.sending;
    this.sending = null;
  }

  async sendEach() {
    if (this.unsent.length) this.refused = [];
    while (this.unsent.length) {
      const { path, body, name } = this.unsent[0];
      const error = await this.send(path, body).then(() => null, one => one);
      if (error && !error.refused) return this.keep(error);
      this.unsent.shift();
      if (error) {
        this.refused.push(`${this.texts.refused}${this.texts.colon} ${name}. ${error.message}`);
        // nothing is finished without it
        this.unsent = this.answers;
      }
      // what is said to be given can be undone at once
      else this.state = await this.look().catch(() => this.state);
      // a later answer that is taken does not hide that
      if (this.refused.length) this.say(this.refused.join(' '), true);
      else this.say(`${this.texts.answers[body.answer] ?? this.texts.done}${this.texts.colon} ${name}${this.unread(body)}`);
    }
  }

  get answers() {
    return this.unsent.filter(one => one.path === 'verdicts');
  }

  // Answers are sent again. To finish was meant for now: whoever still wants it says so again.
  keep(error) {
    const { answers, texts } = this;
    this.unfinished ||= answers.length < this.unsent.length;
    this.unsent = answers;
    const why = answers.length ? `${texts.unsent}${texts.colon} ${answers.length}` : texts.away;
    this.say(`${why} (${error.message})${this.unfinished ? `. ${texts.unfinished}` : ''}`, true);
  }

  // An answer for the whole study by which it is not read: its result is not of all images.
  unread({ answer, result_id, tracking_uid }) {
    const isOfStudy = tracking_uid === null && !['add', 'undo'].includes(answer);
    const isOfEarlier = isOfStudy && this.state.questions.find(one => one.result_id === result_id)?.newer_images;
    return isOfEarlier ? `. ${this.texts.newer_images}` : '';
  }

  async send(path, body) {
    if (this.away) await this.look();
    return this.call(path, body);
  }

  // The lesion whose segment is active: by our keys, or by a click in OHIF's own panel. Segments of another segmentation have the
  // same numbers and are none of ours, and an open panel is about the lesion that it was opened for.
  follow() {
    const { viewportGridService, segmentationService } = this.services;
    const id = viewportGridService.getActiveViewportId();
    const isOurs = id && segmentationService.getActiveSegmentation(id)?.segmentationId === vigieResult.segmentationId;
    const active = isOurs && !this.panel && segmentationService.getActiveSegment(id);
    if (!active || active.segmentIndex === this.active) return;
    this.active = active.segmentIndex;
    if (this.onScreen && !this.onScreen.lesions.some(one => one.number === this.active)) return;
    this.lesion = this.active;
    this.show();
  }

  step(by) {
    const all = this.onScreen?.lesions ?? [];
    if (all.length === 0) return;
    const at = all.findIndex(one => one.number === this.lesion);
    const next = all[(at < 0 ? 0 : at + by + all.length) % all.length].number;
    const { segmentationService, viewportGridService } = this.services;
    this.choose(next);
    if (vigieResult.segmentationId) {
      segmentationService.setActiveSegment(vigieResult.segmentationId, next);
      segmentationService.jumpToSegmentCenter(vigieResult.segmentationId, next, viewportGridService.getActiveViewportId());
    }
  }

  choose(lesion) {
    this.lesion = lesion;
    this.open(null);
    this.show();
  }

  press(event) {
    // OHIF has keys of its own there, which would keep them from the bar's buttons
    const isOfButton = event.key === 'Enter' || event.key === ' ';
    if (isOfButton && this.root.contains(event.target)) return event.stopImmediatePropagation();
    if (event.ctrlKey || event.altKey || event.metaKey || !window.vigieKeys) return;
    // who holds a key down answers once
    const isHeld = event.repeat && event.key !== 'j' && event.key !== 'k';
    if (event.key === 'Escape' && this.panel) this.open(null);
    else if (event.target.closest?.('input, select, textarea, [contenteditable=true]')) return;
    else if (this.panel && /^[1-9]$/.test(event.key)) isHeld || this.root.querySelector(`.panel [data-number="${event.key}"]`)?.click();
    else if (this.root.querySelector(`[data-key="${CSS.escape(event.key)}"]`)) isHeld || this.act(event.key);
    else return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }

  act(key) {
    // what was clicked just now in OHIF's own panel
    this.follow();
    // the lesion that was added last is none of the AI's, but can be taken back as well
    const added = this.state?.verdicts.find(one => one.verdict_id === this.added && one.stands);
    const mine = this.standing(true).at(-1);
    const last = this.question || this.isNewer ? mine ?? added : added ?? mine;
    if (key === 'j' || key === 'k') this.step(key === 'j' ? 1 : -1);
    else if (key === '0') this.choose(0);
    else if (key === 'q') leave();
    else if (key === 'u' && !last) this.say(this.texts.nothing_to_undo, true);
    else if (key === 'u') this.give('undo', { undoes: last.verdict_id, result_id: last.result_id, tracking_uid: last.tracking_uid });
    else if (key === 'f') this.finish();
    else if (key === 'd') this.open(key);
    else if (!this.question) this.say(this.texts.nothing, true);
    else if (key === 'a') this.give('accept');
    else if (key === 'n') this.give('not_my_question');
    else if (key === 'r' || (key === 'm' && this.target)) this.open(key);
    else this.say(this.texts.nothing, true);
    this.show();
  }

  // What is on its way comes first: call() says how long, and sendEach() what became of it.
  async finish() {
    if (this.finishing) return;
    Object.assign(this, { finishing: true, unfinished: false });
    if (this.unsent.length) this.say(`${this.texts.saving}${this.texts.colon} ${this.unsent.length}`);
    this.unsent.push({ path: 'verdicts/finished', body: {}, name: this.texts.finished });
    await this.sendAll();
    this.finishing = false;
    if (this.unsent.length + this.refused.length === 0 && !this.unfinished) leave();
  }

  open(key) {
    const panel = this.root.querySelector('.panel');
    // a focus that goes with the panel is back where it was opened
    if (!key && panel.contains(document.activeElement)) this.root.querySelector(`[data-key="${this.panel}"]`).focus();
    this.panel = key;
    panel.hidden = !key;
    if (!key) return panel.replaceChildren();
    panel.replaceChildren(...(key === 'r' ? this.reasons() : this.lesionFields(key === 'm' ? 'modify' : 'add')));
    panel.querySelector('button, select').focus();
  }

  reasons() {
    const fitting = REASONS.filter(one => one !== 'missed' || !this.target);
    return fitting.map(one => {
      const number = REASONS.indexOf(one) + 1;
      return button(`${number} ${this.texts.reasons[one]}`, () => this.give('reject', { reason: one }), { number });
    });
  }

  // What was saved in the viewer, by its number; or what is typed.
  lesionFields(answer) {
    const finding = document.createElement('select');
    finding.setAttribute('aria-label', this.texts.finding);
    finding.append(new Option(this.texts.finding, ''), ...FINDINGS.map(one => new Option(this.texts.findings[one], one)));
    const mm = field(this.texts.long_axis, 2000);
    const ml = field(this.texts.volume, 100000);
    const lesion = more => ({ lesion: { finding: finding.value, ...more } });
    const saved = this.saved.slice(0, 9).map((one, index) =>
      button(
        `${index + 1} ${markWords(one)}`,
        () => this.give(answer, lesion({ object_sop_instance_uid: one.object, object_item: one.number })),
        { number: index + 1 }
      )
    );
    const typed = () => lesion({ long_axis_mm: Number(mm.value) || null, volume_ml: Number(ml.value) || null });
    return [...saved, finding, mm, ml, button(this.texts[`save_${answer}`], () => this.give(answer, typed()))];
  }

  nameOf({ answer, tracking_uid }) {
    const lesion = this.onScreen?.lesions.find(one => one.tracking_uid === tracking_uid);
    return lesion?.label ?? (answer === 'add' || tracking_uid ? this.texts.added : this.texts.study);
  }

  say(words, isBad = false) {
    this.root.querySelector('.said').classList.toggle('bad', isBad);
    this.tell('.said', words);
  }

  show() {
    const { question, onScreen, target, texts } = this;
    const all = onScreen?.lesions ?? [];
    // no score: the segment's label has it, with what it means
    const lesion = target && `${target.label} (${all.indexOf(target) + 1}/${all.length}) ${decimal(target.long_axis_mm, 1)} mm`;
    const where = this.isNewer ? `${lesion ?? texts.study}. ${texts.newer}` : question ? lesion ?? texts.study : texts.nothing_asked;
    const stands = this.standing(false).map(one => this.verdictWords(one));
    this.tell('.where', where);
    this.tell('.stands', stands.join('; ') || (question ? texts.not_answered : ''));
  }

  // What is the same is not read out again.
  tell(part, words) {
    const told = this.root.querySelector(part);
    if (told.textContent !== words) told.textContent = words;
  }

  verdictWords(one) {
    const reason = one.reason ? ` (${this.texts.reasons[one.reason]})` : '';
    return `${one.mine ? this.texts.you : one.reader}${this.texts.colon} ${this.texts.answers[one.answer] ?? one.answer}${reason}`;
  }
}

// Whether two results of a model tell of the same lesions by the same numbers. Of two without a lesion nothing says so.
function isSame(one, other) {
  const lesions = of => JSON.stringify(of.lesions.map(each => [each.number, each.tracking_uid]));
  return one.model.name === other?.model.name && one.lesions.length > 0 && lesions(one) === lesions(other);
}

function leave() {
  if (parent === window) location.assign('/');
  else parent.history.back(); // to the work list that shows it
}

function markWords(mark) {
  const size = [mark.long_axis_mm && `${decimal(mark.long_axis_mm, 1)} mm`, mark.volume_ml && `${decimal(mark.volume_ml, 2)} mL`];
  return [mark.label, ...size].filter(Boolean).join(' ');
}

function decimal(value, digits) {
  return value.toLocaleString(window.vigieTexts.language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function field(label, max) {
  const made = Object.assign(document.createElement('input'), { type: 'number', min: 0, max, step: 'any', placeholder: label });
  made.setAttribute('aria-label', label);
  return made;
}

function button(words, act, data = {}) {
  const made = Object.assign(document.createElement('button'), { type: 'button', textContent: words });
  Object.assign(made.dataset, data);
  if (data.key) {
    const key = Object.assign(document.createElement('kbd'), { textContent: data.key });
    made.append(' ', key);
  }
  made.addEventListener('click', act);
  return made;
}

document.head.append(Object.assign(document.createElement('link'), { rel: 'stylesheet', href: '/static/viewer-bar.css' }));
