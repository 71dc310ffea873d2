// The live feed: a token, the websocket, and coming back after a break exactly where it stopped.

const SILENCE_MS = 40_000; // heartbeats come far more often; a socket silent this long is dead
const FIRST_PAUSE_MS = 400;
const LONGEST_PAUSE_MS = 10_000;
const EXPIRED = 4401; // how the gateway closes a connection whose token has ended

/** A token of the demo, or null where the gateway hands none out. */
export async function demoToken() {
  const response = await fetch("/v1/demo/token?user=demo", { cache: "no-store" });
  return response.ok ? response.json() : null;
}

export class Feed {
  /**
   * @param {object} handlers
   * @param {(message: object) => void} handlers.onMessage
   * @param {(state: "connecting" | "live" | "down" | "signin", text: string) => void} handlers.onState
   */
  constructor({ onMessage, onState }) {
    Object.assign(this, { onMessage, onState });
    this.token = null;
    this.user = null;
    this.lastId = null;
    this.given = null; // a token the visitor pasted
    this.pauseMs = FIRST_PAUSE_MS;
  }

  /** Use a pasted token from now on. */
  use(token) {
    this.given = token;
    this.lastId = null;
    this.pauseMs = FIRST_PAUSE_MS;
    void this.connect();
  }

  async connect() {
    try {
      if (!(await this.signIn())) return;
    } catch {
      this.again("the gateway does not answer");
      return;
    }
    this.open();
  }

  async signIn() {
    if (this.given) {
      [this.token, this.user] = [this.given, subjectOf(this.given)];
      return true;
    }
    const granted = await demoToken();
    if (!granted) {
      this.onState("signin", "a token is needed");
      return false;
    }
    [this.token, this.user] = [granted.token, granted.user_id];
    return true;
  }

  open() {
    const url = new URL("/v1/live", location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    url.searchParams.set("token", this.token);
    if (mayAll(this.token)) url.searchParams.set("all", "1");
    if (this.lastId) url.searchParams.set("last_id", this.lastId);
    const socket = new WebSocket(url);
    this.socket = socket;
    this.wasOpen = false;
    socket.onopen = () => this.opened();
    socket.onmessage = (event) => this.received(event.data);
    socket.onclose = (event) => this.closed(event);
  }

  opened() {
    this.pauseMs = FIRST_PAUSE_MS;
    this.wasOpen = true;
    this.onState("live", "live");
    this.listen();
  }

  listen() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.socket.close(), SILENCE_MS);
  }

  received(text) {
    this.listen();
    const message = JSON.parse(text);
    if (message.type === "reconnect") {
      this.pauseMs = message.retry_after_ms;
      this.socket.close(1000, message.reason);
      return;
    }
    // A cursor is a place in one user's own log: with `all`, what is resumed exactly is what concerns this user.
    if (message.id && (message.type === "heartbeat" || message.user_id === this.user)) this.lastId = message.id;
    this.onMessage(message);
  }

  async closed(event) {
    clearTimeout(this.silence);
    const refused = event.code === EXPIRED ? event.reason : this.wasOpen ? null : await this.refusal();
    if (refused && this.given) {
      this.given = null;
      this.onState("signin", refused);
      return;
    }
    this.again(event.reason || refused || "connection lost");
  }

  /** Why the token will not do, or null. A browser is not told why a websocket was refused, but a request is. */
  async refusal() {
    try {
      await this.ask("/v1/status");
    } catch (error) {
      return error.status === 401 ? error.message : null;
    }
    return null;
  }

  /** Try again after a pause that grows, with jitter so that a restart of the gateway is not met by everybody at once. */
  again(why) {
    this.onState("down", `${why}; trying again`);
    setTimeout(() => void this.connect(), this.pauseMs * (0.5 + Math.random()));
    this.pauseMs = Math.min(this.pauseMs * 2, LONGEST_PAUSE_MS);
  }

  /** A request with the token; the answer's JSON, or an Error that carries the problem's sentence. */
  async ask(path, options = {}) {
    const headers = { Authorization: `Bearer ${this.token}`, Accept: "application/json" };
    if (options.body) headers["Content-Type"] = "application/json";
    const response = await fetch(path, { ...options, headers, signal: AbortSignal.timeout(10_000) });
    const body = await response.json().catch(() => ({}));
    if (response.ok) return body;
    const sentence = body.detail || body.title || `HTTP ${response.status}`;
    throw Object.assign(new Error(body.field ? `${body.field}: ${sentence}` : sentence), { status: response.status });
  }
}

/** What a token says; it is read for display only, the gateway is who verifies it. */
function claims(token) {
  try {
    return JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
  } catch {
    return {};
  }
}

const subjectOf = (token) => claims(token).sub ?? "–";
const mayAll = (token) => String(claims(token).scope ?? "").split(" ").includes("live:all");
