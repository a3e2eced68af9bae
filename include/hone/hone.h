/* The whole public API. Programs, examples and end-to-end tests use only this. */
#ifndef HONE_HONE_H
#define HONE_HONE_H

#include "chat.h"
#include "config.h"
#include "device.h"
#include "error.h"
#include "generate.h"
#include "model.h"
#include "report.h"
#include "tokenizer.h"
#include "train.h"
#include "verify.h"

#endif
