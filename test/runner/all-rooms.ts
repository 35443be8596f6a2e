/** Has what is tested know all rooms, as the Worker does: functions are also called without an app, which sets them. */
import '../../src/edge/with-all-rooms.ts';
