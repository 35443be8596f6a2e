/** A person approves what a client has asked for that knows nothing of approvals; meanwhile the edge loses its power. */

import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Chat } from '@ai-sdk/react';
import { lastAssistantMessageIsCompleteWithApprovalResponses, type UIMessage } from 'ai';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { createChatTransport, loadMessages } from '#client/ai-sdk.ts';
import { createClient } from '#client/index.ts';
import { createMessageEventStream } from '#edge/conversations/turn/message-events.ts';
import { AI_SDKS } from '#test/support/ai-sdks.ts';
import { type Edge, startEdge } from '#test/support/edge.ts';
import { SDKS } from '#test/support/sdks.ts';
import { type FakeUpstream, startUpstream, streamBytes } from '#test/support/upstream.ts';

// The AI SDK warns of a result of a tool that it has not called, which is what a run is.
Object.assign(globalThis, { AI_SDK_LOG_WARNINGS: false });

const MODEL = 'claude-haiku-4-5';
const QUESTION = 'Pay the bill.';
const NEXT = 'And now?';

let upstream: FakeUpstream;
let tools: Server;
let calls = 0;
/** The tool answers once this is settled. */
let held = Promise.resolve();
let edge: Edge;
let folder = '';
let vars: Record<string, string>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-approvals-'));
  tools = createServer({ keepAliveTimeout: 0 }, (request, response) => {
    calls += 1;
    request.resume();
    void held.then(() => response.writeHead(200, { 'content-type': 'text/plain' }).end('paid'));
  });
  await new Promise<void>((resolve) => tools.listen(0, '127.0.0.1', resolve));
  upstream = await startUpstream(({ body }, response) => {
    const { messages } = JSON.parse(body.toString()) as { messages: { content: unknown }[] };
    const last = JSON.stringify(messages.at(-1)?.content);
    const number = upstream.receivedRequests.length;
    const content = last.includes(QUESTION)
      ? [
          { type: 'text', text: 'I pay. ' },
          { type: 'tool_use', id: `toolu_${number}`, name: 'pay', input: { amount: 500 } },
        ]
      : [{ type: 'text', text: last.includes('tool_result') ? 'It is paid.' : 'Nothing more.' }];
    const stop_reason = content.length > 1 ? 'tool_use' : 'end_turn';
    const usage = { input_tokens: 100, output_tokens: 20 };
    const shape = { type: 'message', role: 'assistant', model: MODEL, stop_sequence: null };
    const text = createMessageEventStream({ id: `msg_${number}`, ...shape, content, stop_reason, usage });
    void streamBytes(response, [new TextEncoder().encode(text)], 'end');
  });
  vars = {
    ANTHROPIC_API_KEY: 'key',
    ANTHROPIC_BASE_URL: upstream.url,
    TOOL_HOSTS: `127.0.0.1:${(tools.address() as AddressInfo).port}`,
    TOOL_SIGNING_SECRET: `whsec_${btoa('0123456789abcdef0123456789abcdef')}`,
  };
  edge = await startEdge(inject('worker'), vars, folder);
});

afterAll(async () => {
  await edge?.stop();
  await upstream?.stop();
  tools?.close();
  await rm(folder, { recursive: true, force: true });
});

/** Lets the tool wait with its answer. @returns a function that lets it go on */
function holdTool(): () => void {
  let letGo = () => {};
  held = new Promise((resolve) => {
    letGo = resolve;
  });
  return letGo;
}

const sluice = () => createClient({ baseURL: edge.url });

/** A conversation whose tool needs an approval. */
async function prepared(id: string): Promise<string> {
  const url = `http://127.0.0.1:${(tools.address() as AddressInfo).port}/pay`;
  const tool = { name: 'pay', input_schema: { type: 'object' }, run: { url, once: true, approval: 'always' } };
  await sluice().conversations.create({ id, tools: [tool] });
  calls = 0;
  return id;
}

/** Approves what waits. @returns the turn that goes on, once it has ended */
async function approved(id: string): Promise<string> {
  const { data } = await sluice().conversations.approvals(id);
  expect(data).toMatchObject([{ name: 'pay', input: { amount: 500 } }]);
  const turn = await sluice().conversations.approve(id, data[0]?.id ?? '');
  expect(turn.type).toBe('turn');
  await expect
    .poll(async () => await sluice().conversations.turn(id, turn.id))
    .toMatchObject({ status: 'complete', paused: null });
  expect(calls).toBe(1);
  return turn.id;
}

/** Follows a turn in place of asking: the same client reads its stream. */
const following = (id: string, turn: string) => () => fetch(`${edge.url}/conversations/${id}/stream?after=${turn}-0`);

describe('a call that waits for approval', () => {
  test.each(SDKS)(
    'pauses the turn for %s, rejects other requests, and lets the client follow the approved turn and continue',
    async (name, Anthropic) => {
      const id = await prepared(name.replaceAll(' ', '_'));
      const options = { headers: { 'sluice-conversation': id } };
      const client = new Anthropic({ baseURL: edge.url, apiKey: 'any', maxRetries: 2 });
      const ask = { model: MODEL, max_tokens: 100 };
      const question = { role: 'user' as const, content: QUESTION };
      const first = await client.messages.stream({ ...ask, messages: [question] }, options).finalMessage();
      expect(first.stop_reason).toBe('pause_turn');
      expect(first.content.map(({ type }) => type as string)).toEqual(['text', 'mcp_tool_use']);
      const answer = { role: 'assistant' as const, content: first.content };
      // As a runner of tools does, which sends a paused answer back at once.
      const before = upstream.receivedRequests.length;
      await expect(client.messages.create({ ...ask, messages: [question, answer] }, options)).rejects.toMatchObject({
        status: 423,
      });
      expect(upstream.receivedRequests.length).toBe(before);

      const turn = await approved(id);
      const follower = new Anthropic({ baseURL: edge.url, apiKey: 'any', fetch: following(id, turn) as never });
      const second = await follower.messages.stream({ ...ask, messages: [question] }).finalMessage();
      expect(second.content.map(({ type }) => type as string)).toEqual(['mcp_tool_use', 'mcp_tool_result', 'text']);
      expect(second.stop_reason).toBe('end_turn');
      const messages = [question, answer, { role: 'assistant' as const, content: second.content }];
      const next = await client.messages.create(
        { ...ask, messages: [...messages, { role: 'user' as const, content: NEXT }] },
        options,
      );
      expect(next.content).toMatchObject([{ type: 'text', text: 'Nothing more.' }]);
    },
  );

  test.each(AI_SDKS)('causes a 423 for a new request of the %s, which does not retry it', async (name, sdk) => {
    const id = await prepared(`${name.replaceAll(' ', '_')}_once`);
    await sluice()
      .messages.stream({
        conversation: id,
        model: MODEL,
        max_tokens: 100,
        messages: [{ role: 'user', content: QUESTION }],
      })
      .finalMessage();
    const statuses: number[] = [];
    const settings = {
      baseURL: `${edge.url}/v1`,
      headers: { 'sluice-conversation': id },
      fetch: async (...sent: Parameters<typeof fetch>) => {
        const response = await fetch(...sent);
        statuses.push(response.status);
        return response;
      },
    };
    await expect(sdk.generate(settings, MODEL, { maxOutputTokens: 100, prompt: NEXT })).rejects.toMatchObject({
      statusCode: 423,
      message: expect.stringContaining('waits for an approval'),
    });
    expect(statuses).toEqual([423]);
  });

  test.each(AI_SDKS)(
    'pauses the turn for the %s, which follows the approved turn and returns both parts as one message',
    async (name, sdk) => {
      const id = await prepared(name.replaceAll(' ', '_'));
      const settings = { baseURL: `${edge.url}/v1`, headers: { 'sluice-conversation': id } };
      const chat = sdk.chat(settings, MODEL, { maxOutputTokens: 100 });
      expect((await chat.say(QUESTION)).text).toBe('I pay. ');
      const turn = await approved(id);
      expect((await chat.follow(following(id, turn))).text).toBe('It is paid.');
      const next = await chat.say(NEXT);
      expect(next.text).toBe('Nothing more.');
    },
  );

  describe('in useChat', () => {
    /** A chat as a page has it. `Chat` is what `useChat` runs. */
    async function chatOf(id: string) {
      const client = sluice();
      const transport = createChatTransport({ client, request: { model: MODEL, max_tokens: 100 } });
      return new Chat({
        id,
        transport,
        messages: await loadMessages(client, id),
        sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
      });
    }

    /** What is to be seen of the last message, without what says where a step begins. */
    const shown = ({ messages }: { messages: UIMessage[] }) =>
      messages.slice(1).map(({ parts }) =>
        parts.flatMap((part) => {
          if (part.type === 'text') return part.text;
          if (part.type !== 'tool-pay') return [];
          const { state, input, output, errorText } = part as Record<string, unknown>;
          return JSON.stringify([state, input, output ?? errorText]);
        }),
      );
    const call = (...told: unknown[]) => JSON.stringify([told[0], { amount: 500 }, told[1]]);
    const WAITS = [['I pay. ', call('approval-requested')]];
    const PAID = [['I pay. ', call('output-available', 'paid'), 'It is paid.']];

    /** A chat whose call waits. */
    async function waiting(id: string) {
      await prepared(id);
      const chat = await chatOf(id);
      await chat.sendMessage({ text: QUESTION });
      expect([chat.error, shown(chat)]).toEqual([undefined, WAITS]);
      return chat;
    }

    function approvalIn({ messages }: { messages: UIMessage[] }): string {
      const parts = messages.at(-1)?.parts ?? [];
      const [id] = parts.flatMap((part) => ('approval' in part ? (part.approval?.id ?? []) : []));
      return id ?? '';
    }

    test.each(['at once', 'after a reload'])(
      'is shown once, and continues in the same message when it is approved %s',
      async (when) => {
        const id = `hook-${when.replaceAll(' ', '-')}`;
        const first = await waiting(id);
        const chat = when === 'at once' ? first : await chatOf(id);
        expect(shown(chat)).toEqual(WAITS);
        await chat.addToolApprovalResponse({ id: approvalIn(chat), approved: true });
        await expect.poll(() => [chat.error, shown(chat), chat.status]).toEqual([undefined, PAID, 'ready']);
        expect(calls).toBe(1);
        expect(chat.messages.at(-1)?.metadata).toMatchObject({ paused: null, stopReason: 'end_turn' });
        const { cost_usd } = await sluice().conversations.get(id);
        expect(chat.messages.at(-1)?.metadata).toMatchObject({ costUsd: cost_usd });
        expect(shown(await chatOf(id))).toEqual(PAID);
        await chat.sendMessage({ text: NEXT });
        expect([chat.error, shown(chat).at(-1)]).toEqual([undefined, ['Nothing more.']]);
      },
    );

    test('is shown once with the reason of a denial', async () => {
      const chat = await waiting('hook-denied');
      await chat.addToolApprovalResponse({ id: approvalIn(chat), approved: false, reason: 'Not on a Friday.' });
      await expect
        .poll(() => [chat.error, chat.status, shown(chat)[0]?.at(-1)])
        .toEqual([undefined, 'ready', 'It is paid.']);
      expect([shown(chat).length, shown(chat)[0]?.length, calls]).toEqual([1, 3, 0]);
      expect(shown(chat)[0]?.[1]).toContain('Not on a Friday.');
    });

    test.each(['saw it wait', 'is loaded while it is made'])(
      'resumes when another client approves it and the page, which %s, reconnects',
      async (which) => {
        const id = `hook-resumes-${which.length}`;
        const waits = await waiting(id);
        const letGo = holdTool();
        const { data } = await sluice().conversations.approvals(id);
        await sluice().conversations.approve(id, data[0]?.id ?? '');
        const chat = which === 'saw it wait' ? waits : await chatOf(id);
        const resuming = chat.resumeStream();
        await expect
          .poll(() => [chat.status, shown(chat)])
          .toEqual(['streaming', [['I pay. ', call('input-available')]]]);
        letGo();
        await resuming;
        expect([chat.error, shown(chat)]).toEqual([undefined, PAID]);
        expect(chat.messages).toHaveLength(2);
      },
    );

    test('shows an error when it was decided differently in the meantime', async () => {
      const chat = await waiting('hook-late');
      await sluice().conversations.approve('hook-late', approvalIn(chat), { decision: 'deny' });
      await chat.addToolApprovalResponse({ id: approvalIn(chat), approved: true });
      await expect.poll(() => chat.error?.message).toContain('already denied');
      expect(calls).toBe(0);
    });
  });

  test('still waits after the edge is killed and restarted, and is made once when it is approved', async () => {
    const id = await prepared('cut');
    const stream = sluice().messages.stream({
      conversation: id,
      model: MODEL,
      max_tokens: 100,
      messages: [{ role: 'user', content: QUESTION }],
    });
    expect((await stream.finalMessage()).stop_reason).toBe('pause_turn');
    await edge.kill();
    edge = await startEdge(inject('worker'), vars, folder);
    const turn = await approved(id);
    expect(await sluice().conversations.turn(id, turn)).toMatchObject({ continues: stream.turn });
  });
});
