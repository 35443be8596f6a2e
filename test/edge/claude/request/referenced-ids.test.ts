import { expect, test } from 'vitest';
import { findResourceIdsInRequest } from '#edge/claude/request/referenced-ids.ts';

test.each([
  ['a string', 'c_1', ['c_1']],
  ['an object', { id: 'c_1', skills: [{ skill_id: 's_1' }] }, ['c_1']],
  ['a list', ['c_1', { id: 'c_2' }, ['c_3'], 4, null], ['c_1', 'c_2', 'c_3']],
  ['an object with a list', { id: ['c_1', 'c_2', 'c_1'] }, ['c_1', 'c_2']],
  ['no id', { skills: [] }, []],
])('finds the ids in a container: %s', (_, container, ids) => {
  expect(findResourceIdsInRequest({ container })).toEqual(ids.map((id) => ({ kind: 'container', id })));
});

test('finds the ids of a thread in a list too', () => {
  const thread = { previous_message_id: ['msg_1', 'msg_2'] };
  expect(findResourceIdsInRequest({ thread }).map(({ id }) => id)).toEqual(['msg_1', 'msg_2']);
});
