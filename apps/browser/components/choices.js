// Choosing cards of a grid for the tray: a check mark on each, ranges, all of them, and the keyboard.
//
// A grid shows a choice at once and sends it; Python changes the tray and draws it anew, not the grid. The tray
// then tells all grids what is chosen, and which messages it has seen: later choices are still on their way.

const chosenBy = new WeakMap();

class Choices {
  constructor() {
    this.known = new Set(); // what Python knows to be chosen
    this.pending = new Map(); // card -> whether it is chosen, not yet confirmed
    this.number = 0; // of the last message
    this.last = null; // the card chosen last, where a range begins
    this.receive = ({ detail }) => this.confirm(detail);
    window.addEventListener("handsim-tray", this.receive);
  }

  close() {
    window.removeEventListener("handsim-tray", this.receive);
  }

  update(data, send) {
    this.name = data.choice_name;
    this.send = send;
    this.ids = data.hands.map((hand) => hand.id);
    this.everything = [...new Set(data.all)]; // also hands behind the cards
    this.known = new Set(data.chosen);
    this.cards = new Map();
  }

  confirm({ chosen, seen }) {
    const on = new Set(chosen);
    this.known = new Set(this.everything.filter((id) => on.has(id)));
    if (this.number <= (seen[this.name] || 0)) this.pending.clear();
    this.show();
  }

  has = (id) => this.pending.get(id) ?? this.known.has(id);

  set(ids, isChosen) {
    for (const id of ids) this.pending.set(id, isChosen);
    this.show();
    this.number = window.handsimChoice = Math.max(Date.now(), (window.handsimChoice || 0) + 1);
    // All that is not confirmed, because of two messages at once only the later one arrives.
    const changed = [...this.pending].filter(([id, on]) => on !== this.known.has(id));
    const among = (on) => changed.filter((each) => each[1] === on).map(([id]) => id);
    this.send({ number: this.number, add: among(true), remove: among(false) });
  }

  toggle(id, isRange) {
    const [from, to] = [this.ids.indexOf(this.last), this.ids.indexOf(id)].sort((a, b) => a - b);
    if (isRange && from >= 0) this.set(this.ids.slice(from, to + 1), this.has(this.last));
    else this.set([id], !this.has(id));
    this.last = id;
  }

  toggleAll() {
    this.set(this.everything, !this.everything.every(this.has));
  }

  // A check mark on a card, and the keys of its picture.
  wire(figure, frame, hand) {
    const { id } = hand;
    const check = element("button", "check");
    check.type = "button";
    check.setAttribute("role", "checkbox");
    check.setAttribute("aria-label", `Choose ${nameOf(hand)}`);
    check.title = "Choose (x; with Shift all from the last one chosen)";
    check.onclick = (event) => this.toggle(id, event.shiftKey);
    figure.onkeydown = (event) => {
      if (event.key.toLowerCase() !== "x" || event.ctrlKey || event.metaKey || event.altKey) return;
      this.toggle(id, event.shiftKey);
      event.preventDefault();
    };
    const pick = frame.onclick;
    frame.onclick = (event) => {
      if (event.shiftKey || event.ctrlKey || event.metaKey) this.toggle(id, event.shiftKey);
      else if (pick) pick(event);
    };
    frame.onmousedown = (event) => event.shiftKey && event.preventDefault(); // selects no text
    this.cards.set(id, [...(this.cards.get(id) || []), { figure, check }]);
    frame.after(check);
  }

  buildAll() {
    this.all = element("button", "all");
    this.all.type = "button";
    this.all.onclick = () => this.toggleAll();
    return this.all;
  }

  show() {
    for (const [id, drawn] of this.cards) {
      for (const { figure, check } of drawn) {
        figure.classList.toggle("chosen", this.has(id));
        check.setAttribute("aria-checked", String(this.has(id)));
        check.textContent = this.has(id) ? "✓" : "";
      }
    }
    if (!this.all) return;
    const count = this.everything.length;
    this.all.textContent = `${this.everything.every(this.has) ? "Take off" : "Choose"} all ${count}`;
    this.all.hidden = count < 2;
  }
}

function choicesOf(root) {
  if (!chosenBy.has(root)) chosenBy.set(root, new Choices());
  return chosenBy.get(root);
}

function closeChoices(root) {
  chosenBy.get(root)?.close();
  chosenBy.delete(root);
}
