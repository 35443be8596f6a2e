import type { KINDS } from '../claude/kinds/kinds.ts';
import type { BEFORE_SPENDING, OPTIONS, ROUTES } from '../gate/auth/route.ts';
import type { SETTINGS } from '../gate/settings/settings.ts';
import type { HEALTH, METRICS, OVERVIEW } from '../health/told.ts';
import type { QUEUE } from '../kit/delivery/queue.ts';
import type { HeadersPlugged } from '../kit/http/headers/answer-headers.ts';
import type { BINDINGS } from '../kit/objects/needed-bindings.ts';
import type { AnyRoom, Plugged } from '../kit/rooms/rooms.ts';
import type { SHARED_BUDGETS } from '../money/account/account-state.ts';
import type { ALL_ACCOUNTS } from '../money/account/all-accounts.ts';
import type { ACCOUNT_PARTS } from '../money/account/parts.ts';
import type { KEY_NEWS } from '../money/admission/request-meter.ts';
import type { ALERT_INBOX } from '../money/alerts/alert-outbox.ts';
import type { DIMENSIONS } from '../money/contracts/about.ts';
import type { BY_BATCH } from '../named/classify/classify.route.ts';
import type { VIEW } from '../talk/contracts/answer-view.ts';
import type { GUARD } from '../talk/contracts/guard.ts';
import type { MEMBERS } from '../talk/contracts/member.ts';
import type { AGENT_KIND } from '../talk/conversations/named-beginning.ts';
import type { CONVERSATION_PARTS } from '../talk/conversations/parts.ts';
import type { STRATEGIES } from '../talk/history/history.schema.ts';
import type { COPIED } from '../talk/storage/copied-rows.ts';
import type { MODEL_CHOICE } from './agents/choice-of-model.ts';
import type { CALLED_KINDS } from './runs/called-kind.ts';
import type { PAUSES } from './runs/pauses.ts';

/** A feature: one folder, one object, one line in the list of rooms. Each of its members is a seam of the core. */
export interface Room
  extends AnyRoom,
    Plugged<typeof ROUTES>,
    Plugged<typeof BEFORE_SPENDING>,
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
    Plugged<typeof KEY_NEWS>,
    Plugged<typeof ALERT_INBOX>,
    Plugged<typeof DIMENSIONS>,
    Plugged<typeof CONVERSATION_PARTS>,
    Plugged<typeof GUARD>,
    Plugged<typeof STRATEGIES>,
    Plugged<typeof COPIED>,
    Plugged<typeof AGENT_KIND>,
    Plugged<typeof MODEL_CHOICE>,
    Plugged<typeof PAUSES>,
    Plugged<typeof CALLED_KINDS>,
    Plugged<typeof MEMBERS>,
    HeadersPlugged,
    Plugged<typeof VIEW> {}
