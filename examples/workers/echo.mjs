// A worker in another language, written from docs/protocol.md alone: Node.js, nothing installed. `examples/foreign_worker.rs` runs it.
import { once } from 'node:events';
import { Socket } from 'node:net';

const commands = {
  echo: (args) => args,
  count(_args, session) {
    if (!session) throw new Refusal('bad_arguments', 'count needs a session');
    return (session.count = (session.count ?? 0) + 1);
  },
  sleep: ({ ms = 0 }, _session, signal) =>
    new Promise((done, stopped) => {
      const timer = setTimeout(done, ms, null);
      signal.onabort = () => (clearTimeout(timer), stopped(new Refusal('cancelled', 'stopped on request')));
    }),
  fail: () => { throw new RangeError('this command always fails'); },
  reject: () => { throw new Refusal('rejected', 'this command always rejects its call', 'demo'); },
};

class Refusal extends Error { // an error that is no bug
  constructor(kind, message, code) { super(message).fields = { kind, message, code }; }
}

const HELLO = 1, READY = 2, CALL = 3, RESULT = 4, ERROR = 5, CANCEL = 10, REVOKE = 11, STATE = 13, PING = 14;
const PONG = 15, SESSION_END = 18, SHUTDOWN = 20, KNOWN = [HELLO, CALL, CANCEL, REVOKE, PING, SESSION_END, SHUTDOWN];
const OPTIONAL = 1; // the flag of a frame that may be passed over

const calls = new Socket({ fd: Number(process.env.HERDER_FD) });
const control = new Socket({ fd: Number(process.env.HERDER_CTL_FD) });
const state = new Map(); // of each session, by epoch and id: an epoch never seen before begins with none
const running = new Map(); // wire id -> AbortController
let maxFrame = 1 << 20, helloReceived = false, ending = false;

function fail(name) { // after a protocol error the rest of the stream cannot be trusted
  console.error(`not the protocol: ${name}`);
  process.exit(1);
}

const send = (...frame) => calls.write(framed(...frame)); // in one piece: frames must not mix

function framed(kind, wireId, ...parts) {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part))), header = Buffer.alloc(16);
  header.writeUInt32LE(body.length);
  header[4] = kind;
  header.writeBigUInt64LE(wireId, 8);
  return Buffer.concat([header, body]);
}

async function* frames(stream) {
  stream.on('readable', () => {}); // one that stays: the first of its kind is called for old data again and again
  for (;;) {
    const header = await exactly(stream, 16), body = await exactly(stream, check(header));
    const frame = { kind: header[4], wireId: header.readBigUInt64LE(8), body };
    if (KNOWN.includes(frame.kind)) yield frame;
  }
}

async function exactly(stream, size) { // never resolves after the stream's end
  for (let data = Buffer.alloc(0); ; await once(stream, 'readable')) {
    if (data.length === size || (data = stream.read(size) ?? data).length === size) return data;
  }
}

function check(header) { // gives the length of the body
  const length = header.readUInt32LE(), kind = header[4], known = KNOWN.includes(kind);
  if (header.readUInt16LE(6)) fail('reserved_bytes');
  if (length > maxFrame) fail('oversize');
  if (!known && !(header[5] & OPTIONAL)) fail('unknown_kind');
  return length;
}

function handshake(hello) {
  if (hello.protocol !== 1) {
    const message = `this worker speaks protocol 1, the host ${hello.protocol}`;
    send(ERROR, 0n, Buffer.alloc(16), JSON.stringify({ kind: 'start_failed', message }));
    return calls.end(() => fail('protocol_mismatch'));
  }
  ({ max_frame: maxFrame } = hello);
  const { concurrency, pipeline } = hello, window = concurrency * pipeline; // nothing here blocks: as many as the host likes
  send(HELLO, 0n, JSON.stringify({ protocol: 1, pid: process.pid, window, control: true }));
  send(READY, 0n, JSON.stringify({ commands: Object.keys(commands).map((name) => ({ name })) }));
}

async function answer({ wireId, body }) {
  const end = 20 + body.readUInt16LE(16), begin = end + body.readUInt16LE(18), command = body.toString('utf8', 20, end);
  const key = begin > end && `${body.readBigUInt64LE(8)} ${body.toString('utf8', end, begin)}`;
  if (key && !state.has(key)) state.set(key, {});
  const stopping = new AbortController(), stamps = Buffer.alloc(16);
  running.set(wireId, stopping);
  let kind = RESULT, value;
  try {
    if (!Object.hasOwn(commands, command)) throw new Refusal('unknown_command', `there are ${Object.keys(commands)}`);
    const args = decode(body.subarray(begin));
    stamps.writeBigUInt64LE(process.hrtime.bigint()); // CLOCK_MONOTONIC
    value = JSON.stringify((await commands[command](args, state.get(key), stopping.signal)) ?? null);
    if (Buffer.byteLength(value) + 16 > maxFrame) throw new Refusal('too_large', `over ${maxFrame} bytes`);
  } catch (error) {
    const { name: type, message, stack: traceback } = error;
    [kind, value] = [ERROR, JSON.stringify(error.fields ?? { kind: 'exception', type, message, traceback })];
  }
  if (stamps.readBigUInt64LE()) stamps.writeBigUInt64LE(process.hrtime.bigint(), 8);
  running.delete(wireId);
  send(kind, wireId, stamps, value);
  finish();
}

function decode(payload) {
  try {
    return JSON.parse(payload);
  } catch (error) {
    throw new Refusal('malformed', error.message);
  }
}

function endSession(body) {
  state.delete(`${body.readBigUInt64LE()} ${body.toString('utf8', 9)}`);
}

function finish() { // after shutdown: when every call has its final frame, and the host has got them
  if (ending && !running.size) calls.end(() => process.exit(0));
}

async function serveControl() {
  for await (const { kind, wireId } of frames(control)) {
    if (kind === SHUTDOWN) process.removeAllListeners('SIGTERM'); // from now on it ends the process
    if (kind === PING) control.write(framed(PONG, wireId));
    if ([CANCEL, REVOKE].includes(kind) && running.has(wireId)) { // any other was answered, or was not read
      control.write(framed(STATE, wireId, [1])); // running: each call begins when it is read, so none can be taken back
      if (kind === CANCEL) running.get(wireId).abort(); // a command that listens stops; the others cannot be interrupted
    }
  }
}

async function serveCalls() {
  for await (const frame of frames(calls)) {
    if ((frame.kind === HELLO) === helloReceived) fail('out_of_order');
    if (frame.kind === HELLO) helloReceived = !handshake(JSON.parse(frame.body));
    if (frame.kind === CALL) answer(frame); // not awaited: they overlap
    if (frame.kind === SESSION_END) endSession(frame.body);
    if (frame.kind === SHUTDOWN) (ending = true), process.removeAllListeners('SIGTERM'), finish();
  }
}

for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => {}); // a handler, which programs started here do not inherit
for (const event of ['end', 'error']) calls.on(event, () => process.exit(0)); // the host has gone: nobody reads the answers
serveControl();
serveCalls();
