// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

/// Counts, and tells each count.
contract Counter {
    event Counted(address indexed who, uint256 number);

    uint256 public number;

    constructor(uint256 first) {
        number = first;
    }

    function count(uint256 by) external returns (uint256) {
        require(by > 0, "count by something");
        number += by;
        emit Counted(msg.sender, number);
        return number;
    }
}
