import type { OPTIONS, ROUTES } from '../auth/route.ts';
import type { BY_BATCH } from '../classify/classify.route.ts';
import type { KINDS } from '../claude/providers/kinds.ts';
import type { MEMBERS } from '../claude/request/member.ts';
import type { SETTINGS } from '../config/settings.ts';
import type { GUARD } from '../conversations/history/guard.ts';
import type { STRATEGIES } from '../conversations/history/history.schema.ts';
import type { COPIED } from '../conversations/history/storage/copied-rows.ts';
import type { ROWS } from '../conversations/history/storage/room-rows.ts';
import type { AGENT_KIND } from '../conversations/object/named-beginning.ts';
import type { CONVERSATION_PARTS } from '../conversations/object/parts.ts';
import type { FAILING_TASKS } from '../durable/retries.ts';
import type { HEALTH, METRICS, OVERVIEW } from '../health/told.ts';
import type { QUEUE } from '../kit/delivery/queue.ts';
import type { HeadersPlugged } from '../kit/http/headers/answer-headers.ts';
import type { BINDINGS } from '../kit/rooms/needed-bindings.ts';
import type { AnyRoom, Plugged } from '../kit/rooms/rooms.ts';
import type { SHARED_BUDGETS } from '../money/account/account-state.ts';
import type { ACCOUNT_PARTS } from '../money/account/parts.ts';
import type { ALERT_INBOX } from '../money/alerts/alert-outbox.ts';
import type { DIMENSIONS } from '../money/contracts/about.ts';
import type { ALL_ACCOUNTS } from '../money/contracts/all-accounts.ts';
import type { TOOL_KINDS } from '../registry/tools/tool-kind.ts';

/** A feature: one folder, one object, one line in the list of rooms. Each of its members is a seam of the core. */
export interface Room
  extends AnyRoom,
    Plugged<typeof ROUTES>,
    Plugged<typeof OPTIONS>,
    Plugged<typeof QUEUE>,
    Plugged<typeof BINDINGS>,
    Plugged<typeof SETTINGS>,
    Plugged<typeof HEALTH>,
    Plugged<typeof METRICS>,
    Plugged<typeof OVERVIEW>,
    Plugged<typeof KINDS>,
    Plugged<typeof BY_BATCH>,
    Plugged<typeof SHARED_BUDGETS>,
    Plugged<typeof ACCOUNT_PARTS>,
    Plugged<typeof ALL_ACCOUNTS>,
    Plugged<typeof ALERT_INBOX>,
    Plugged<typeof FAILING_TASKS>,
    Plugged<typeof DIMENSIONS>,
    Plugged<typeof CONVERSATION_PARTS>,
    Plugged<typeof GUARD>,
    Plugged<typeof STRATEGIES>,
    Plugged<typeof ROWS>,
    Plugged<typeof COPIED>,
    Plugged<typeof AGENT_KIND>,
    Plugged<typeof TOOL_KINDS>,
    Plugged<typeof MEMBERS>,
    HeadersPlugged {}
