import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  advanceHistoryState,
  checkContinuation,
  countResent,
  createEmptyHistoryState,
  type SentMessage,
} from '#edge/conversations/history/continuation.ts';
import { findBrokenRule } from '#test/support/api-rules.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';

const user = (content: unknown): SentMessage => ({ role: 'user', content });
const assistant = (content: unknown): SentMessage => ({ role: 'assistant', content });
const call = (id: string) => ({ type: 'tool_use', id, name: 'a', input: {} });
const result = (id: string, content: unknown = 'ok') => ({ type: 'tool_result', tool_use_id: id, content });
const known = (messages: readonly SentMessage[], isPartial = false) =>
  messages.map((message) => ({ ...message, isPartial }));

function refusal(history: readonly SentMessage[], messages: readonly SentMessage[]): string | undefined {
  const at = createEmptyHistoryState();
  for (const message of history) advanceHistoryState(at, message);
  try {
    checkContinuation(at, messages, history.length === 0);
    return undefined;
  } catch (thrown) {
    return (thrown as Error).message;
  }
}

/** The messages with answers in a row as one: what a client may have made of them. */
function joined(messages: readonly SentMessage[]): SentMessage[] {
  const all: SentMessage[] = [];
  for (const { role, content } of messages) {
    const last = all.at(-1);
    if (role === 'assistant' && last?.role === 'assistant') {
      all[all.length - 1] = assistant([...(last.content as []), ...(content as [])]);
    } else all.push({ role, content });
  }
  return all;
}

test('countResent recognizes consecutive assistant messages, separate or joined, also before a new message', () => {
  const block = fc.constantFrom({ type: 'text', text: 'Yes, ' }, { type: 'text', text: ' no' }, call('a'), call('b'));
  const answer = fc.array(block, { minLength: 1, maxLength: 3 }).map(assistant);
  const messages = fc.array(fc.oneof(answer, fc.constantFrom('A', 'B').map(user)), { minLength: 1, maxLength: 8 });
  tryCases(100, messages, messages, (history, others) => {
    expect(countResent(known(history), history)).toBe(history.length);
    expect(countResent(known(joined(history)), history)).toBe(history.length);
    expect(countResent(known(history), joined(history))).toBe(joined(history).length);
    expect(countResent(known(history), [...history, user('new')])).toBe(history.length);
    // Whatever else is sent is known if and only if it is the same when answers are joined.
    const all = joined(others);
    const isSame = countResent(known(joined(history)), all) > 0;
    expect(countResent(known(history), others) > 0).toBe(isSame);
  });
});

test('checkContinuation makes fewer than three id lookups per result for 30,000 results in separate messages', () => {
  const ids = Array.from({ length: 30_000 }, (_, nth) => `call_${nth}`);
  let reads = 0;
  const at = createEmptyHistoryState();
  advanceHistoryState(at, user('Go'));
  advanceHistoryState(at, assistant(ids.map(call)));
  const { has } = at.resultIds;
  at.resultIds.has = (id) => {
    reads += 1;
    return has.call(at.resultIds, id);
  };
  at.resultIds[Symbol.iterator] = () => {
    throw new Error('All earlier results are looked at again.');
  };
  checkContinuation(at, [...ids.map((id) => user([result(id)])), user('Go on')], false);
  expect(reads).toBeLessThan(3 * ids.length);
});

describe('checkContinuation', () => {
  const history = [user('Hi'), assistant([{ type: 'text', text: 'Hello' }, call('a'), call('b')])];

  test.each<[string, SentMessage[], SentMessage[], RegExp | undefined]>([
    ['a question', [], [user('Hi')], undefined],
    ['an import', [], [user('A'), assistant('B'), user('C')], undefined],
    ['an answer first', [], [assistant('B'), user('C')], /first message/],
    [
      'two answers in a row',
      [],
      [user('A'), assistant('B'), assistant('B'), user('C')],
      /follows another assistant message/,
    ],
    ['a prefill', [], [user('A'), assistant('B')], /last message/],
    ['results for all calls', history, [user([result('a'), result('b')])], undefined],
    ['in two messages', history, [user([result('a')]), user([result('b'), { type: 'text', text: 'x' }])], undefined],
    ['one result is missing', history, [user([result('a')])], /requires its `tool_result` first: b/],
    ['no result', history, [user('Never mind')], /tool_result/],
    ['a result for nothing', history, [user([result('a'), result('b'), result('c')])], /the last response has no/],
    ['two results for one call', history, [user([result('a'), result('a'), result('b')])], /single result/],
    [
      'an answer later',
      [user('A'), assistant('B')],
      [user('C'), assistant('D'), user('E')],
      /Send only the new messages/,
    ],
  ])('checks the new messages: %s', (_, before, messages, expected) => {
    const refused = refusal(before, messages);
    if (expected) expect(refused).toMatch(expected);
    else expect(refused).toBeUndefined();
  });

  test('accepts only messages that satisfy the API’s rules about calls', () => {
    const ids = fc.constantFrom('a', 'b');
    const message = fc.oneof(
      fc
        .array(
          fc.oneof(
            ids.map((id) => result(id)),
            fc.constant({ type: 'text', text: 'x' }),
          ),
          { minLength: 1, maxLength: 3 },
        )
        .map(user),
      fc.subarray(['a', 'b']).map((called) => assistant([{ type: 'text', text: 'y' }, ...called.map(call)])),
    );
    tryCases(caseCount(2_000), fc.array(message, { minLength: 1, maxLength: 6 }), (messages) => {
      if (refusal([], messages) !== undefined) return;
      expect(findBrokenRule(messages as never) ?? '').not.toMatch(/result|first/);
    });
  });
});

describe('countResent', () => {
  const history = [
    user('Hi'),
    assistant([
      { type: 'thinking', thinking: 'x', signature: 's' },
      { type: 'text', text: 'Hello, ' },
      { type: 'text', text: 'you' },
      call('a'),
    ]),
    user([result('a', 'fine')]),
    assistant([{ type: 'text', text: 'Good.' }]),
  ];

  test('recognizes a resent history in the forms in which clients write it', () => {
    expect(countResent(known(history), [...history, user('Next')])).toBe(4);
    const rewritten = [
      user([{ text: 'Hi', type: 'text', cache_control: { type: 'ephemeral' } }]),
      assistant([{ type: 'text', text: 'Hello, you', citations: null }, call('a')]),
      user([{ type: 'tool_result', content: [{ type: 'text', text: 'fine' }], tool_use_id: 'a', is_error: null }]),
      assistant('Good.'),
    ];
    expect(countResent(known(history), [...rewritten, user('Next')])).toBe(4);
  });

  test('does not recognize a history that differs, is shorter or has another role', () => {
    expect(countResent(known(history), [user('Ho'), ...history.slice(1), user('Next')])).toBe(0);
    expect(countResent(known(history), history.slice(0, 3))).toBe(0);
    expect(countResent(known(history), [user('Hi'), user('Hi'), user('x'), user('y'), user('z')])).toBe(0);
    const other = [history[0], assistant([{ type: 'text', text: 'Hello, you' }, call('b')]), ...history.slice(2)];
    expect(countResent(known(history), [...(other as SentMessage[]), user('Next')])).toBe(0);
  });

  test('recognizes a history without, with a part of, or with more than an interrupted response', () => {
    const before = known([user('Hi'), assistant([{ type: 'text', text: 'Once upon' }])], true);
    expect(countResent(before, [user('Hi'), user('Next')])).toBe(1);
    expect(countResent(before, [user('Hi'), assistant('Once'), user('Next')])).toBe(2);
    expect(countResent(before, [user('Hi'), assistant('Once upon a time'), user('Next')])).toBe(2);
    expect(countResent(before, [user('Hi'), assistant('Never'), user('Next')])).toBe(0);
  });

  test('recognizes a resent question that occurs twice in a row, but counts a repetition at the end as new', () => {
    const before = known([user('Hi'), assistant([{ type: 'text', text: 'Once upon' }])], true);
    expect(countResent(before, [user('Hi'), user('Hi'), assistant('Once upon'), user('Next')])).toBe(3);
    expect(countResent(before, [user('Hi'), user('Hi'), user('Next')])).toBe(2);
    expect(countResent(before, [user('Hi'), user('Hi')])).toBe(1);
  });

  test('recognizes a refused response that is resent with or without its calls', () => {
    const answer = assistant([{ type: 'text', text: 'I' }, call('a')]);
    const before = [...known([user('Hi')]), { ...answer, isPartial: false, refused: ['a'] }];
    for (const seen of [[answer], [assistant('I')]])
      expect(countResent(before, [user('Hi'), ...seen, user('Next')])).toBe(2);
  });

  test('recognizes tool results in any order, but not with a repeated or missing block', () => {
    const [a, b, text] = [result('a'), result('b'), { type: 'text', text: 'Go on' }];
    const before = known([user('Hi'), assistant([call('a'), call('b')]), user([a, b, text])]);
    const sent = (content: object[]) => [user('Hi'), assistant([call('a'), call('b')]), user(content), user('Next')];
    expect(countResent(before, sent([b, a, text]))).toBe(3);
    expect(countResent(before, sent([b, b, text]))).toBe(0);
    expect(countResent(before, sent([b, a]))).toBe(0);
  });
});
