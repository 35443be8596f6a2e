/**
 * What `npm test` runs: what the README and the design promise, each by the cheapest tests that show it. The rest of the day
 * finds little more, and takes much longer: `npm run test:all`.
 */
import { MISTAKES } from './planted/mistakes.ts';

/** A file for each promise. */
const PROMISES = [
  // It starts as the README says, is what is deployed, and has all plugins.
  'test/e2e/start.test.ts',
  'test/bundle.test.ts',
  'test/edge/app/openapi.test.ts',
  'test/documents.test.ts',
  // A client of the SDK, over HTTP, and the chat in a browser.
  'test/e2e/gateway.test.ts',
  'test/e2e/page/wire.test.ts',
  // Streams, split at every byte, and cut.
  'test/e2e/relay.test.ts',
  'test/e2e/cuts.test.ts',
  'test/edge/messages/edge-blocks.test.ts',
  // Budgets that cannot be overspent.
  'test/edge/money/account/account.test.ts',
  'test/edge/money/admission/admission.test.ts',
  'test/edge/money/admission/books.test.ts',
  'test/edge/plugins/visitors/visitors.route.test.ts',
  // Conversations that survive everything.
  'test/e2e/kills.test.ts',
  'test/edge/conversations/object/conversation.test.ts',
  'test/edge/conversations/history/never-dies.test.ts',
  'test/edge/app/backup.test.ts',
  // Agents, batches, classification, prefixes, webhooks.
  'test/edge/plugins/runs/run-limits.test.ts',
  'test/edge/plugins/batches/ownership.test.ts',
  'test/edge/classify/classify.route.test.ts',
  'test/edge/registry/prefixes/prefixes.route.test.ts',
  'test/edge/plugins/webhooks/webhooks.route.test.ts',
  // Nobody gets what is not theirs, and no input is an error of the edge.
  'test/edge/app/fuzz.test.ts',
  // How the house stands.
  'test/imports.test.ts',
  'test/names.test.ts',
  'test/planted/mistakes.test.ts',
];

/** The files of the short set. */
export const SHORT: readonly string[] = [...new Set([...PROMISES, ...MISTAKES.map(({ foundBy }) => foundBy)])].sort();
