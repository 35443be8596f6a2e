import { expect, test } from 'vitest';
import { findFaultyField } from '#page/edge/field-fault.ts';

test('findFaultyField assigns an error to the field that its path begins with, and keeps a longer path in the message', () => {
  const fields = ['model', 'limits.max_usd', 'tools'];
  expect(findFaultyField('model: Field required', fields)).toEqual({ field: 'model', message: 'Field required' });
  expect(findFaultyField('limits.max_usd: Too big', fields)).toEqual({ field: 'limits.max_usd', message: 'Too big' });
  const tool = 'tools.0.run.url: its host is not in TOOL_HOSTS';
  expect(findFaultyField(tool, fields)).toEqual({ field: 'tools', message: tool });
  for (const other of ['modelling: no', 'limits.max_turns: no', 'Unrecognized key: "x"']) {
    expect(findFaultyField(other, fields)).toEqual({ field: undefined, message: other });
  }
  const told = ['This does not fit.', 'invalid_request_error · HTTP 400 · req_1'].join('\n');
  expect(findFaultyField(`${told}\nmodel: Field required`, fields)).toEqual({
    field: 'model',
    message: 'Field required',
  });
  expect(findFaultyField(`${told}\n${tool}`, fields)).toEqual({ field: 'tools', message: tool });
  expect(findFaultyField(`${told}\nother: no`, fields)).toEqual({ field: undefined, message: `${told}\nother: no` });
});
