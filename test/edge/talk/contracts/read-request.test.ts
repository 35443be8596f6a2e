import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readRequest } from '../../../../src/edge/talk/contracts/read-request.ts';
import { runs, tryCases } from '../../../support/runs.ts';

/** What rooms are asked: the names of clients, and those of the form that is written. */
const ASKED = [
  ...['show', 'background', 'retry', 'prefix', 'agent', 'model', 'parent'].map((name) => [name, name] as const),
  ...([
    ['deliver_url', 'deliverUrl'],
    ['agent_owner', 'agentOwner'],
    ['agent_listed', 'agentListed'],
    ['fallback_models', 'fallbacks'],
  ] as const),
];
const own = fc.record({ place: fc.constant({ account: 'alice', id: 'c' }), key: fc.string(), stream: fc.boolean() });
const asked = fc
  .subarray([...ASKED])
  .chain((names) =>
    fc
      .array(fc.jsonValue(), { minLength: names.length, maxLength: names.length })
      .map((values) => names.map(([name, member], at) => ({ name, member, value: values[at] }))),
  );

test('a request is the same in both forms, whatever else of rooms that are not here is asked', () => {
  tryCases(runs(200), own, asked, fc.dictionary(fc.string(), fc.jsonValue()), (request, given, others) => {
    const known = new Set<string>(ASKED.map(([name]) => name));
    const unknown = Object.entries(others).filter(([name]) => !known.has(name));
    const members = Object.fromEntries(given.map(({ member, value }) => [member, value]));
    const names = Object.fromEntries([...unknown, ...given.map(({ name, value }) => [name, value] as const)]);
    const written = { ...request, ...members };
    expect(readRequest(written)).toBe(written);
    expect(readRequest({ ...request, asked: names, key: request.key })).toEqual(written);
    return true;
  });
});

test('what is asked of rooms takes the place of nothing else', () => {
  const request = { place: { account: 'alice', id: 'c' }, requestId: 'req_1' };
  const asked = { place: { account: 'bob', id: 'c' }, requestId: 'req_2', identity: {}, agent: 'a' };
  expect(readRequest({ ...request, asked })).toEqual({ ...request, agent: 'a' });
});
