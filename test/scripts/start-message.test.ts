import { describe, expect, test } from 'vitest';
import { parseSettings } from '#edge/config/settings.ts';
import '../../scripts/all-plugins.mjs';
import { SECRET } from '#test/support/tokens.ts';
import { formatStartMessage } from '../../scripts/start-message.ts';

const UNPROTECTED = 'can be read without a token';

function format(vars: Record<string, string>, hasStoredData = true): string {
  const settings = parseSettings({ SIGNING_SECRET: SECRET, ...vars }, true);
  return formatStartMessage({ url: 'http://localhost:8787', settings, hasStoredData, resetCommand: 'npm run reset' });
}

describe('the message of npm start', () => {
  test('warns of stored data that can be read without a token', () => {
    expect(format({})).toContain(UNPROTECTED);
    expect(format({}, false)).not.toContain(UNPROTECTED);
    expect(format({ ANTHROPIC_API_KEY: 'sk-ant-1' })).not.toContain(UNPROTECTED);
  });

  test('shows a request without a token', () => {
    expect(format({})).toContain('curl -N http://localhost:8787/messages');
    expect(format({})).not.toContain('authorization');
  });

  test('asks for a token, also in the example, if credentials are required', () => {
    for (const vars of [{}, { ANTHROPIC_API_KEY: 'sk-ant-1' }]) {
      const message = format({ ...vars, CREDENTIALS: 'required' });
      expect(message).not.toContain(UNPROTECTED);
      expect(message).toContain('each request needs a token. To create an admin token: npm run token');
      expect(message).toContain("-H 'authorization: Bearer TOKEN'");
    }
  });
});
