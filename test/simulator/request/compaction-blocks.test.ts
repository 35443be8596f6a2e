import Anthropic from '@anthropic-ai/sdk';
import { beforeAll, describe, expect, test } from 'vitest';
import { MAX_TOOL_REFERENCES } from '#simulator/request/tool-changes.ts';
import { areSummariesVerbatim, findBrokenRule } from '#test/support/api-rules.ts';
import { model } from '../api.ts';
import {
  assistant,
  BETAS,
  type Beta,
  type Content,
  compactor,
  type Params,
  type Summary,
  summaryOf,
  user,
} from '../compactions.ts';

const { client, ask, compact } = compactor();
const tools = ['look', 'send'].map((name) => ({ name, input_schema: { type: 'object' as const } }));
const removal = { type: 'tool_removal' as const, tool: { type: 'tool_reference' as const, name: 'send' } };

/** A valid exchange: a conversation, its summary, what followed, and the summary of both. */
let talk: Beta[] = [];
let block: Summary & { content: string };
let later: Beta[] = [];
let second: Summary & { content: string };

beforeAll(async () => {
  const opening = [user('Remember the code 4711.'), { role: 'system', content: [removal] } satisfies Beta];
  talk = [...opening, assistant((await ask(opening, { tools })).content as Content)];
  block = summaryOf(await compact(talk, { tools }));
  later = [assistant([block]), user('What is the code?')];
  later.push(assistant((await ask(later, { tools })).content as Content));
  second = summaryOf(await compact(later, { tools }));
  await ask([assistant([second]), user('Go on.')], { tools });
});

async function thrownBy(messages: Beta[], more: Params = {}): Promise<unknown> {
  try {
    await ask(messages, { tools, ...more });
    return 'accepted';
  } catch (error) {
    return error;
  }
}

async function codeOf(messages: Beta[], more: Params = {}): Promise<unknown> {
  const error = await thrownBy(messages, more);
  return error instanceof Anthropic.BadRequestError && error.type === 'invalid_request_error' ? error.errorCode : error;
}

const altered = (change: object): Beta[] => [assistant([{ ...block, ...change } as Summary]), user('Go on.')];
const call = (type: 'tool_use' | 'server_tool_use') =>
  assistant([{ type, id: 'toolu_1', name: type === 'tool_use' ? 'look' : 'web_search', input: {} } as never]);
const summarizing: Params = { compaction: { type: 'summarize' } };

describe('a summary in a request', () => {
  test.each<[string, () => [Beta[], Params?], typeof Anthropic.BadRequestError]>([
    [
      'with an older one',
      () => [[assistant([second]), user('a'), assistant([block]), user('b')]],
      Anthropic.CompactionBlockAmbiguousError,
    ],
    [
      'behind the messages that it stands for',
      () => [[...talk, assistant([block]), user('Go on.')]],
      Anthropic.CompactionBlockMisplacedError,
    ],
    [
      'behind another block',
      () => [[user([{ type: 'text', text: 'x' }, block])]],
      Anthropic.CompactionBlockMisplacedError,
    ],
    [
      'in a system message',
      () => [[{ role: 'system', content: [block] } as never, user('x')]],
      Anthropic.CompactionBlockMisplacedError,
    ],
    ['with another text', () => [altered({ content: `${block.content}!` })], Anthropic.CompactionContentMismatchError],
    [
      'with the signature of another',
      () => [altered({ signature: second.signature })],
      Anthropic.CompactionContentMismatchError,
    ],
    [
      'with a signature that was never made',
      () => [altered({ signature: 'EuYBCkQY' })],
      Anthropic.CompactionSignatureInvalidError,
    ],
    [
      'without its changes of tools',
      () => [altered({ tool_changes: [] })],
      Anthropic.CompactionToolChangesMismatchError,
    ],
  ])('is rejected %s', async (_, planted, expected) => {
    expect(await thrownBy(...planted())).toBeInstanceOf(expected);
    const [messages] = planted();
    const counting = client.beta.messages.countTokens({ model, messages, betas: BETAS });
    await expect(counting).rejects.toBeInstanceOf(expected);
  });

  test('is rejected if a character of its text or signature is altered', async () => {
    const written = JSON.stringify(block.signature);
    for (let at = 0; at < block.content.length; at += 7) {
      const content = `${block.content.slice(0, at)}_${block.content.slice(at + 1)}`;
      expect(await codeOf(altered({ content }))).toBe('compaction_content_mismatch');
    }
    for (let at = 1; at < written.length - 1; at++) {
      const other = written[at] === 'A' ? 'B' : 'A';
      const signature = JSON.parse(written.slice(0, at) + other + written.slice(at + 1));
      expect(await codeOf(altered({ signature }))).toBe('compaction_signature_invalid');
    }
    expect(await codeOf(altered({ encrypted_content: 'x' }))).toBe('compaction_signature_invalid');
  });

  test('is accepted first in either role, with other blocks, with a breakpoint, and with fields in any order', async () => {
    const reordered = Object.fromEntries(Object.entries(block).reverse()) as unknown as Summary;
    for (const messages of [
      [user([block, { type: 'text', text: 'Go on.' }])],
      [assistant([block, { type: 'text', text: 'As I said.' }]), user('Go on.')],
      [assistant([{ ...block, cache_control: { type: 'ephemeral' } }]), assistant('As I said.'), user('Go on.')],
      [assistant([reordered]), user('Go on.')],
    ] satisfies Beta[][]) {
      expect(await thrownBy(messages)).toBe('accepted');
    }
  });

  test('requires its beta and its signature, and supports only fields that the API sent', async () => {
    const words = async (messages: Beta[], more: Params = {}) => String(await thrownBy(messages, more));
    expect(await words(altered({}), { betas: [] })).toContain("Input tag 'compaction' found using 'type'");
    expect(await words(altered({}), { betas: ['skills-2025-10-02'] })).toContain("Input tag 'compaction' found");
    expect(await words(altered({}), { betas: ['compact-2026-01-12'] })).toContain(
      '`signature` requires anthropic-beta: compact-2026-09-04',
    );
    expect(await words(altered({ signature: null }))).toContain('requires its `signature`');
    expect(await words(altered({ content: '' }))).toContain('must be non-empty');
    expect(await words(altered({ citations: null }))).toContain(
      'messages.0.content.0.compaction.citations: Extra inputs are not permitted',
    );
    const edits: Params = {
      betas: [...BETAS, 'compact-2026-01-12'],
      context_management: { edits: [{ type: 'compact_20260112' }] },
    };
    expect(await words(altered({}), edits)).toContain('`compact_20260112` cannot run');
  });

  test('is ignored if its compaction failed, at any position and any number of times', async () => {
    const failed: Summary = { type: 'compaction', content: null, encrypted_content: null };
    const messages = [user('Hello'), assistant([failed]), user([failed, { type: 'text', text: 'Again' }])];
    expect(await thrownBy(messages)).toBe('accepted');
    expect(await thrownBy([...altered({}), assistant([failed]), user('And?')])).toBe('accepted');
    expect(String(await thrownBy([assistant([failed]), user('x')]))).toContain('first message must use the');
  });
});

test('the request rules of the tests find the misplaced and altered summaries that the simulator rejects', () => {
  const broken = (...messages: unknown[]) => findBrokenRule(messages as never);
  const next = user('Go on.');
  expect(broken(assistant([block]), next)).toBeUndefined();
  expect(broken(user([block, { type: 'text', text: 'x' }]))).toBeUndefined();
  expect(broken(...talk.slice(0, 1), assistant([block]), next)).toContain('a summary at 1.0');
  expect(broken(assistant([second]), next, assistant([block]), next)).toContain('summaries at 0.0 and 2.0');
  expect(broken({ role: 'system', content: [block] }, next)).toContain('in a system message');
  for (const change of [{ content: '' }, { signature: null }, { citations: null }]) {
    expect(broken(...altered(change))).toContain('a summary has its text');
  }
  expect(areSummariesVerbatim(altered({ cache_control: { type: 'ephemeral' } }), [block])).toBe(true);
  expect(areSummariesVerbatim(altered({ content: 'Other.' }), [block])).toBe(false);
});

describe('a compaction request', () => {
  test.each<[string, () => [Beta[], Params?], typeof Anthropic.BadRequestError]>([
    ['of nothing', () => [[]], Anthropic.CompactionNothingToSummarizeError],
    [
      'of a system message alone',
      () => [[{ role: 'system', content: 'Be kind.' }]],
      Anthropic.CompactionNothingToSummarizeError,
    ],
    [
      'that ends on a call without a result',
      () => [[user('Look.'), call('tool_use')]],
      Anthropic.CompactionIncompleteTurnError,
    ],
    [
      'that ends on a search without a result',
      () => [[user('Look.'), call('server_tool_use')]],
      Anthropic.CompactionIncompleteTurnError,
    ],
    [
      'of more tools than a summary records',
      () => {
        const named = (_: unknown, index: number) => ({ ...removal, tool: { ...removal.tool, name: `t${index}` } });
        const content = Array.from({ length: MAX_TOOL_REFERENCES + 1 }, named);
        return [[user('Hi'), { role: 'system', content }]];
      },
      Anthropic.CompactionTooManyToolReferencesError,
    ],
  ])('is rejected %s', async (_, planted, expected) => {
    const [messages] = planted();
    expect(await thrownBy(messages, summarizing)).toBeInstanceOf(expected);
  });

  test('requires a known type and its beta, and rejects fields of normal responses; null means no compaction', async () => {
    const words = async (more: Params) => String(await thrownBy(talk, more));
    expect(await words({ ...summarizing, betas: [] })).toContain('compaction: Extra inputs are not permitted');
    expect(await words({ compaction: { type: 'auto' } as never })).toContain("compaction: Input tag 'auto'");
    const edits = [{ type: 'clear_tool_uses_20250919' as const }];
    expect(await words({ ...summarizing, context_management: { edits } })).toContain('context_management');
    expect(await words({ ...summarizing, stop_sequences: ['x'] })).toContain('stop_sequences');
    expect(await words({ ...summarizing, tool_choice: { type: 'any' } })).toContain('tool_choice.any');
    const format = { type: 'json_schema' as const, schema: { type: 'object' } };
    expect(await words({ ...summarizing, output_config: { format } })).toContain('output_config.format');
    const task_budget = { type: 'tokens' as const, total: 90_000, remaining: 9 };
    expect(await words({ ...summarizing, output_config: { task_budget } })).toContain('task_budget.remaining');
    const instructions = 'x'.repeat(16_385);
    expect(await words({ compaction: { type: 'summarize', instructions } })).toContain('at most 16384 characters');
    expect((await ask(talk, { tools, compaction: null })).stop_reason).toBe('end_turn');
    expect((await ask(talk, { tools, context_management: { edits } })).stop_reason).toBe('end_turn');
  });

  test('is counted like the conversation that it contains', async () => {
    const counted = async (messages: Beta[], more: object = {}) =>
      (await client.beta.messages.countTokens({ model, messages, betas: BETAS, ...more })).input_tokens;
    expect(await counted(talk, summarizing)).toBe(await counted(talk));
    const short = { type: 'compaction', content: 'one', encrypted_content: null };
    const beta = { betas: ['compact-2026-01-12'] };
    const one = await counted([assistant([short as Summary]), user('x')], beta);
    const five = await counted(
      [assistant([{ ...short, content: 'one two three four five' } as Summary]), user('x')],
      beta,
    );
    expect(five - one).toBe(4);
  });
});

test('a summary lists the added and removed tools, and the next summary continues the list', async () => {
  expect(block.tool_changes).toEqual([removal]);
  expect(second.tool_changes).toEqual([removal]);
  const defined = {
    type: 'tool_addition',
    tool: { type: 'tool_definition', definition: { ...tools[0], name: 'new' } },
  };
  const again = { ...removal, type: 'tool_addition' };
  const system = { role: 'system', content: [again, defined] } as unknown as Beta;
  const third = summaryOf(await compact([assistant([second]), user('Take these.'), system], { tools }));
  expect(third.tool_changes).toEqual([defined]);
  expect(summaryOf(await compact([user('Hi')], { tools })).tool_changes).toEqual([]);
});
