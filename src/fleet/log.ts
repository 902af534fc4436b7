/** One line an event, past tense; fields carry the names of DESIGN section 1. */
export type Log = {
  info(message: string, fields?: object): void;
  warn(message: string, fields?: object): void;
  error(message: string, fields?: object): void;
};
