import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { childPids } from '../../bench/processes.ts';
import { type Edge, startEdge } from '../support/edge.ts';
import { SECRET } from '../support/tokens.ts';

/** The longest that another tenant may wait, in milliseconds of CPU of the thread that all of them share. */
const MOST_MS = 150;
const TRIES = 4;
const ASKED = { model: 'claude-haiku-4-5', max_tokens: 10, stream: false };

let upstream: Server;
let edge: Edge;
let runtime: number;
beforeAll(async () => {
  upstream = createServer((request, response) => {
    request.resume().once('end', () => {
      const isBatch = request.url?.includes('batches');
      const at = new Date().toISOString();
      const batch = { id: 'msgbatch_01', type: 'message_batch', processing_status: 'in_progress', created_at: at };
      const counts = { processing: 1, succeeded: 0, errored: 0, canceled: 0, expired: 0 };
      const ends = { expires_at: at, ended_at: null, results_url: null, request_counts: counts };
      const said = { type: 'message', role: 'assistant', content: [{ type: 'text', text: 'ok' }], stop_reason: 'end_turn' };
      const usage = { input_tokens: 1, output_tokens: 1 };
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify(isBatch ? { ...batch, ...ends } : { ...said, id: 'msg_1', model: ASKED.model, usage }));
    });
  }).listen(0, '127.0.0.1');
  await once(upstream, 'listening');
  const others = new Set(childPids());
  edge = await startEdge(inject('worker'), {
    ...{ MODE: 'development', UPSTREAM: 'anthropic', SIGNING_SECRET: SECRET, ANTHROPIC_API_KEY: 'sk-ant-of-the-deployment' },
    ANTHROPIC_BASE_URL: `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`,
  });
  runtime = childPids().find((pid) => !others.has(pid) && isRuntime(pid)) ?? 0;
});
afterAll(async () => {
  await edge.stop();
  upstream.closeAllConnections();
  upstream.close();
});

function isRuntime(pid: number): boolean {
  return readdirSync(`/proc/${pid}/task`).length > 0 && readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('workerd');
}

/** @returns the CPU that the thread of all requests has used, in milliseconds: what else the machine does is not in it */
function cpuMs(): number {
  return Number(readFileSync(`/proc/${runtime}/task/${runtime}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
}

const post = async (path: string, body: string) => {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(edge.url + path, { method: 'POST', headers, body });
  await response.text();
  return response.status;
};

/** @returns the most CPU that others got while somebody waited for `/health`, in milliseconds, and the answer's status */
async function longestWait(path: string, body: string): Promise<{ longest: number; status: number }> {
  let status: number | undefined;
  let longest = 0;
  const attack = post(path, body).then((got) => {
    status = got;
  });
  while (status === undefined) {
    const before = cpuMs();
    await (await fetch(`${edge.url}/health`)).text();
    longest = Math.max(longest, cpuMs() - before);
  }
  await attack;
  return { longest, status };
}

const list = <T>(length: number, one: (nth: number) => T): T[] => Array.from({ length }, (_, nth) => one(nth));
const hi = { role: 'user', content: 'Hi' };
const answers = (length: number) => [hi, ...list(length, () => ({ role: 'assistant', content: 'ok' })), hi];
const talk = (length: number) => list(length, (nth) => ({ role: nth % 2 ? 'assistant' : 'user', content: `word ${nth}` }));
const keys = Object.fromEntries(list(700_000, (nth) => [`k${nth.toString(36)}`, 1]));
const inputs = list(20_000, (nth) => ({ id: `i${nth}`, input: `Is it good? ${nth}` }));
const resent = JSON.stringify({ ...ASKED, conversation: 'resent', messages: answers(16_000) });
const deep = list(1_000, (nth) => Object.fromEntries(list(100, (at) => [`k${nth * 100 + at}`, 1])));

test.runIf(process.platform === 'linux').each([
  ['answers in a row to a conversation', '/v1/messages', resent, 400],
  ['answers in a row to be counted', '/v1/messages/count_tokens', resent, 400],
  ['an object of many keys', '/v1/messages', JSON.stringify({ ...ASKED, messages: [hi], metadata: keys }), 413],
  ['many objects of other keys', '/v1/messages', JSON.stringify({ ...ASKED, messages: [hi], metadata: { deep } }), 413],
  ['a classification by batch', '/classify', JSON.stringify({ labels: ['yes', 'no'], batch: true, inputs }), 202],
  ['a conversation with a long history', '/conversations', JSON.stringify({ messages: talk(99_000) }), 201],
  ['a long prompt', '/v1/messages', JSON.stringify({ ...ASKED, messages: [{ role: 'user', content: 'a"\\'.repeat(4e6) }] }), 200],
])('%s keeps nobody waiting', async (what, path, body, expected) => {
  expect(await post('/v1/messages', JSON.stringify({ ...ASKED, conversation: 'resent', messages: [hi] }))).toBeLessThan(500);
  let least = Number.POSITIVE_INFINITY;
  for (let tried = 0; tried < TRIES && least > MOST_MS; tried += 1) {
    const { longest, status } = await longestWait(path, body);
    expect(status).toBe(expected);
    least = Math.min(least, longest);
  }
  process.stdout.write(`${what}: others waited ${least.toFixed(0)} ms of CPU at most\n`);
  expect(least).toBeLessThan(MOST_MS);
});
