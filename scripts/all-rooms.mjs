// Has a script know all rooms, as the Worker does: their settings, and the kinds of upstream that they have. It has no types: those of
// what rooms import are the runtime's, which scripts do not have.
import '../src/edge/with-all-rooms.ts';
