/**
 * The page of everything that a plugin can contribute. Each file below declares its members of `Plugin` with their docstrings, and
 * reads them with `getPluginMembers('routes')`, in the order of the list of plugins. The imports make all members visible to the users
 * of the package. A member for which that order must not decide is listed in `SINGLE_MEMBERS` of `kit/plugins/plugins.ts`.
 */

// Members of `Plugin` for the app: `routes`, `options`, `settings`, `bindings`, `queue`.
import '../auth/route.ts';
import '../config/settings.ts';
import '../kit/plugins/needed-bindings.ts';
import '../kit/delivery/queue.ts';
// Members for requests and responses: `members`, `headers`, `classifyByBatch`, `providers`.
import '../claude/request/field-definition.ts';
import '../kit/http/headers/response-headers.ts';
import '../classify/classify.route.ts';
import '../claude/providers/all-providers.ts';
// Members for conversations: `conversation`, `rows`, `copied`, `strategy`, `agents`, `guard`, `tools`.
import '../conversations/object/hooks.ts';
import '../conversations/history/storage/plugin-rows.ts';
import '../conversations/history/storage/copyable-rows.ts';
import '../conversations/history/history.schema.ts';
import '../conversations/object/initial-context.ts';
import '../conversations/history/guard.ts';
import '../registry/tools/tool-kind.ts';
// Members for accounts and budgets: `account`, `dimensions`, `sharedBudgets`, `allAccounts`, `alertInbox`, `changeList`.
import '../money/account/hooks.ts';
import '../money/contracts/dimensions.ts';
import '../money/account/account-state.ts';
import '../money/contracts/all-accounts.ts';
import '../money/alerts/alert-outbox.ts';
import '../money/changes/change-outbox.ts';
// Members for operations: `health`, `metrics`, `overview`, `failingTasks`.
import '../health/plugin-hooks.ts';
import '../durable/retries.ts';

export type { Plugin } from '../kit/plugins/plugins.ts';
