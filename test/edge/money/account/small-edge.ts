import { onTestFinished } from 'vitest';
import { createTestApp, type SentRequest, type TestApp, waitForAllApps } from '#test/support/app.ts';
import { resetAll } from '#test/support/reset.ts';
import { DEPLOYED_VARS } from '#test/support/tokens.ts';
import { MESSAGE } from './small-request.ts';

/** @returns an edge whose upstream gives the small answer, or another one. After the test it is settled, and all storage is emptied. */
export function smallEdge(
  vars: Record<string, unknown> = {},
  createAnswer: () => Response = () => Response.json(MESSAGE),
): TestApp {
  const answer = ({ url }: SentRequest) =>
    url.pathname.endsWith('/count_tokens') ? Response.json({ input_tokens: 9 }) : createAnswer();
  const app = createTestApp(answer, { ...DEPLOYED_VARS, ...vars });
  // A hook of this file would hold for the first test file alone that imports it: others share its isolate.
  onTestFinished(async () => {
    await waitForAllApps();
    await resetAll();
  });
  return app;
}
